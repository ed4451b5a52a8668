#include "cli/info_output.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/text.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;
using workflow::CompiledLayers;
using workflow::ModelFacts;
using workflow::ModelInfo;

std::string short_list(const std::vector<std::string>& words) {
  constexpr std::size_t kShown = 20;
  std::string text;
  for (std::size_t i = 0; i < words.size() && i < kShown; ++i)
    text += (i == 0 ? "" : ", ") + printable(words[i]);
  if (words.size() > kShown) text += fmt::format(", and {} more", words.size() - kShown);
  return text;
}

std::string facts_text(const ModelFacts& model) {
  const core::Preprocessing& how = model.preprocessing;
  std::string text =
      fmt::format("classes    {}: {}\n", model.classes.size(), short_list(model.classes));
  text += fmt::format("images     {}x{} ({}), mean {:.4f}, std {:.4f}\n", how.width, how.height,
                      to_string(how.fit), fmt::join(how.mean, " "), fmt::join(how.std, " "));
  if (model.trained > 0)
    text += fmt::format("trained    on {} images of {}; {} to tune, {} to certify\n",
                        core::with_commas(model.trained), printable(model.source),
                        core::with_commas(model.tune), core::with_commas(model.certify));
  return text;
}

std::map<std::string, int> count_implementations(const CompiledLayers& table) {
  std::map<std::string, int> counts;
  for (const auto& row : table.rows) ++counts[row.implementation];
  return counts;
}

int count_reference(const CompiledLayers& table) {
  int count = 0;
  for (const auto& row : table.rows) count += row.implementation.starts_with("ref");
  return count;
}

}  // namespace

std::string to_json_text(const ModelInfo& info) {
  json object = {{"macs", info.macs}, {"parameters", info.parameters}, {"exits", json::array()}};
  for (const workflow::ExitInfo& exit : info.exits)
    object["exits"].push_back({{"exit", exit.exit},
                               {"after", exit.after},
                               {"macs", exit.macs},
                               {"relative_cost", exit.relative_cost}});
  return json_text(object);
}

std::string to_text(const std::string& path, const ModelInfo& info, bool color) {
  std::string text = heading(printable(path) + ": " + printable(info.network), color) + "\n";
  if (info.facts) text += facts_text(*info.facts);
  return text + "\n" + info.layers;
}

std::string to_json_text(const CompiledLayers& table) {
  json object = {{"precision", table.precision},
                 {"kernels", table.kernels},
                 {"batch", table.batch},
                 {"threads", table.threads},
                 {"operations", json::array()},
                 {"implementations", count_implementations(table)},
                 {"reference_operations", count_reference(table)},
                 {"weight_bytes", table.weight_bytes},
                 {"workspace_bytes", table.workspace_bytes}};
  for (const auto& row : table.rows)
    object["operations"].push_back({{"segment", row.segment},
                                    {"output", row.output},
                                    {"operation", row.kind},
                                    {"implementation", row.implementation},
                                    {"srcs", row.srcs},
                                    {"dst", row.dst}});
  return json_text(object);
}

std::string to_text(const CompiledLayers& table, bool color) {
  Table lines({"segment", "output", "operation", "implementation", "reads", "writes"}, 6);
  for (const auto& row : table.rows)
    lines.add({row.segment, printable(row.output), row.kind, row.implementation,
               row.srcs.empty() ? "" : row.srcs.front(), row.dst});
  std::string text = heading(fmt::format("{}, batches of {}, {} {} in an operation, {}",
                                         table.precision, table.batch, table.threads,
                                         table.threads == 1 ? "thread" : "threads", table.kernels),
                             color) +
                     "\n\n" + lines.text(color) + "\n";
  std::vector<std::string> counts;
  for (const auto& [name, count] : count_implementations(table))
    counts.push_back(fmt::format("{} {}", count, name));
  const int reference = count_reference(table);
  text += fmt::format("{} operations: {}; {}\n", table.rows.size(), fmt::join(counts, ", "),
                      reference == 0
                          ? "none is a slow reference implementation (ref)"
                          : fmt::format("{} are slow reference implementations (ref)", reference));
  text += fmt::format("weights {}, workspace of a stream {}\n",
                      core::megabytes(static_cast<std::int64_t>(table.weight_bytes)),
                      core::megabytes(static_cast<std::int64_t>(table.workspace_bytes)));
  return text;
}

}  // namespace offramp::cli
