#include "cli/bench_output.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/json_text.h"
#include "cli/terminal.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;
using workflow::Benchmark;
using workflow::BenchmarkOptions;
using workflow::BenchmarkRow;
using workflow::Split;
using workflow::SplitTime;

json split_json(const SplitTime& time) {
  return {{"streams", time.split.streams},
          {"threads_each", time.split.threads},
          {"images_per_second", time.images_per_second}};
}

std::string text_of(const Split& split) {
  return fmt::format("{}x{}", split.streams, split.threads);
}

json row_json(const BenchmarkRow& row, const Benchmark& result) {
  json object = {
      {"precision", row.precision},
      {"threads", result.threads},
      {"batch", row.batch},
      {"mode", to_string(row.mode)},
      {"images_per_second", row.best.images_per_second},
      {"latency_ms",
       {{"p50", row.latency.p50},
        {"p95", row.latency.p95},
        {"p99", row.latency.p99},
        {"max", row.latency.max}}},
      {"accuracy", row.accuracy ? json(*row.accuracy) : json(nullptr)},
      {"relative_cost", row.relative_cost},
      {"shares", row.shares},
      {"streams", row.best.split.streams},
      {"threads_each", row.best.split.threads},
      {"other_split", row.other ? split_json(*row.other) : json(nullptr)},
      {"share_of_ceiling", row.share_of_ceiling ? json(*row.share_of_ceiling) : json(nullptr)},
      {"images", row.images},
      {"rounds", row.rounds},
      {"kernels", result.kernels}};
  object["machine"] = {{"others", result.load.others},
                       {"stolen", result.load.stolen},
                       {"load_average", result.load.load_average}};
  return object;
}

}  // namespace

std::string to_json_text(const Benchmark& result) {
  json rows = json::array();
  for (const BenchmarkRow& row : result.rows) rows.push_back(row_json(row, result));
  return json_text(rows);
}

std::string to_text(const BenchmarkOptions& options, const Benchmark& result, bool color) {
  std::string text =
      heading(fmt::format("{} on {}: {} threads, {}", printable(options.model.string()),
                          printable(result.data), result.threads, result.kernels),
              color) +
      "\n";
  if (!result.policy.empty()) text += fmt::format("adaptive: {}\n", result.policy);
  Table table({"mode", "precision", "batch", "split", "images/s", "p50 ms", "p95 ms", "p99 ms",
               "max ms", "of ceiling", "accuracy", "relative cost"},
              2);
  for (const BenchmarkRow& row : result.rows)
    table.add({std::string(to_string(row.mode)), row.precision, std::to_string(row.batch),
               text_of(row.best.split), fmt::format("{:.1f}", row.best.images_per_second),
               fmt::format("{:.3f}", row.latency.p50), fmt::format("{:.3f}", row.latency.p95),
               fmt::format("{:.3f}", row.latency.p99), fmt::format("{:.3f}", row.latency.max),
               row.share_of_ceiling ? fmt::format("{:.1f} %", 100 * *row.share_of_ceiling) : "-",
               row.accuracy ? percent(*row.accuracy) : "-",
               fmt::format("{:.3f}", row.relative_cost)});
  text += "\n" + table.text(color) + "\n";
  for (const BenchmarkRow& row : result.rows)
    if (row.other)
      text += fmt::format("{} {} batch {}: {} is best; {} ran {:.1f} images/s\n",
                          to_string(row.mode), row.precision, row.batch, text_of(row.best.split),
                          text_of(row.other->split), row.other->images_per_second);
  text += "split: streams x threads per stream; times exclude the decoding of images\n";
  for (const workflow::Ceiling& ceiling : result.ceilings)
    if (ceiling.is_invalid())
      text += fmt::format(
          "the ceiling of {} must not be used: it was measured below 95 % of what the clock "
          "allows\n",
          ceiling.precision);
  return text;
}

std::string to_json_text(const std::vector<workflow::Ceiling>& ceilings) {
  json rows = json::array();
  for (const workflow::Ceiling& one : ceilings)
    rows.push_back({{"precision", one.precision},
                    {"instruction", one.instruction},
                    {"macs_per_instruction", one.macs_per_instruction},
                    {"instructions_per_cycle", one.per_cycle},
                    {"instructions_per_cycle_known", one.per_cycle_known},
                    {"clock_hz", one.clock_hz},
                    {"theoretical_macs_per_second", one.theoretical()},
                    {"core_macs_per_second", one.core_macs_per_second},
                    {"cores", one.cores},
                    {"macs_per_second", one.macs_per_second},
                    {"invalid", one.is_invalid()}});
  return json_text(rows);
}

std::string to_text(const std::vector<workflow::Ceiling>& ceilings, bool color) {
  if (ceilings.empty()) return "no ceiling is known for this CPU\n";
  Table table({"precision", "instruction", "a cycle", "clock, GHz", "one core, GMAC/s",
               "of its clock", "all cores, GMAC/s", ""},
              2);
  for (const workflow::Ceiling& one : ceilings)
    table.add({one.precision, one.instruction,
               fmt::format("{:.4g} x {}{}", one.per_cycle, one.macs_per_instruction,
                           one.per_cycle_known ? "" : " (measured)"),
               fmt::format("{:.2f}", one.clock_hz / 1e9),
               fmt::format("{:.1f}", one.core_macs_per_second / 1e9),
               fmt::format("{:.1f} %", 100 * one.core_macs_per_second / one.theoretical()),
               fmt::format("{:.1f} ({})", one.macs_per_second / 1e9, one.cores),
               one.is_invalid() ? "invalid" : ""});
  std::string text = table.text(color);
  for (const workflow::Ceiling& one : ceilings)
    if (one.macs_per_second < 0.9 * one.cores * one.core_macs_per_second)
      text += fmt::format(
          "{}: each of {} cores working together reaches {:.0f} % of a core working alone: the "
          "cores share units or a clock, or other processes ran\n",
          one.precision, one.cores,
          100 * one.macs_per_second / (one.cores * one.core_macs_per_second));
  return text;
}

std::string machine_load_warning(const workflow::MachineLoad& load) {
  if (!load.is_busy()) return "";
  return fmt::format(
      "the machine was busy: {:.0f} % of its time went to other processes, {:.1f} % to its host "
      "(load average {:.1f}); these times are provisional\n",
      100 * load.others, 100 * load.stolen, load.load_average);
}

}  // namespace offramp::cli
