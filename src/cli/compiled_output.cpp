#include "cli/compiled_output.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>

#include "cli/terminal.h"
#include "runtime/kernels_name.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

std::map<std::string, int> count_implementations(const CompiledTable& table) {
  std::map<std::string, int> counts;
  for (const auto& row : table.rows) ++counts[row.implementation];
  return counts;
}

int count_reference(const CompiledTable& table) {
  int count = 0;
  for (const auto& row : table.rows) count += row.implementation.starts_with("ref");
  return count;
}

std::string megabytes(std::size_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

}  // namespace

std::string to_json_text(const CompiledTable& table) {
  json object = {{"precision", table.precision},
                 {"kernels", kernels_name()},
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
  return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string to_text(const CompiledTable& table, bool color) {
  Table lines({"segment", "output", "operation", "implementation", "reads", "writes"}, 6);
  for (const auto& row : table.rows)
    lines.add({row.segment, printable(row.output), row.kind, row.implementation,
               row.srcs.empty() ? "" : row.srcs.front(), row.dst});
  std::string text = heading(fmt::format("{}, batches of {}, {} {} in an operation, {}",
                                         table.precision, table.batch, table.threads,
                                         table.threads == 1 ? "thread" : "threads", kernels_name()),
                             color) +
                     "\n\n" + lines.text(color) + "\n";
  std::vector<std::string> counts;
  for (const auto& [name, count] : count_implementations(table))
    counts.push_back(fmt::format("{} {}", count, name));
  const int reference = count_reference(table);
  text += fmt::format("{} operations: {}; {}\n", table.rows.size(), fmt::join(counts, ", "),
                      reference == 0 ? "none is ref" : fmt::format("{} are ref", reference));
  text += fmt::format("weights {}, workspace of a stream {}\n", megabytes(table.weight_bytes),
                      megabytes(table.workspace_bytes));
  return text;
}

}  // namespace offramp::cli
