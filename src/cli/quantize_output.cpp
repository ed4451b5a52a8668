#include "cli/quantize_output.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/calibrate_output.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/text.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;
using workflow::ExitLoss;
using workflow::Quantized;
using workflow::QuantizeOptions;

std::string points(double difference) {
  const double value = 100 * difference;
  return fmt::format("{}{:.2f}", value < 0 ? "−" : "+", std::abs(value));
}

}  // namespace

std::string to_json_text(const QuantizeOptions& options, const Quantized& result) {
  json exits = json::array();
  for (std::size_t k = 0; k < result.exits.size(); ++k) {
    const ExitLoss& exit = result.exits[k];
    exits.push_back({{"exit", k + 1},
                     {"reference_accuracy", exit.reference_accuracy},
                     {"accuracy", exit.accuracy},
                     {"difference", exit.accuracy - exit.reference_accuracy},
                     {"difference_interval", {exit.difference.low, exit.difference.high}},
                     {"agreement", exit.agreement}});
  }
  const json object = {
      {"model", options.model.string()},
      {"written_to", options.written_to().string()},
      {"precision", options.precision},
      {"observed_images", result.observed},
      {"tune", {{"images", result.tune_images}, {"exits", exits}}},
      {"stored_images", result.stored},
      {"within_bounds", result.within_bounds},
      {"bytes", {{"before", result.bytes_before}, {"after", result.bytes}}},
      {"policy", result.policy ? to_json(result.policy_options, *result.policy) : json(nullptr)}};
  return json_text(object);
}

std::string to_text(const QuantizeOptions& options, const Quantized& result, bool color) {
  std::string text =
      heading(fmt::format("{} in {}, on {} tune images", printable(options.model.string()),
                          options.precision, core::with_commas(result.tune_images)),
              color) +
      "\n";
  Table table({"exit", "accuracy in f32", "in " + options.precision, "difference, points", "95 %",
               "same answers"});
  for (std::size_t k = 0; k < result.exits.size(); ++k) {
    const ExitLoss& exit = result.exits[k];
    table.add({std::to_string(k + 1), percent(exit.reference_accuracy), percent(exit.accuracy),
               points(exit.accuracy - exit.reference_accuracy),
               fmt::format("{} … {}", points(exit.difference.low), points(exit.difference.high)),
               percent(exit.agreement)});
  }
  text += table.text(color);
  if (result.observed > 0)
    text += fmt::format("ranges of activations observed on {} training images\n",
                        core::with_commas(result.observed));
  if (result.stored > 0)
    text +=
        fmt::format("{} {} images are stored in the file, on which another CPU checks its logits\n",
                    core::with_commas(result.stored),
                    options.check_images.empty() ? "tune" : printable(options.check_images));
  text += fmt::format("written to {}: {}, before {}\n", printable(options.written_to().string()),
                      core::megabytes(result.bytes), core::megabytes(result.bytes_before));
  if (!result.within_bounds)
    text += fmt::format(
        "outside the bounds of {} ({}): the file runs in f32 unless --precision is given\n",
        options.precision,
        options.precision == "int8" ? "at least 98.5 % same answers, at most 0.3 points lost"
                                    : "at least 99.5 % same answers, at most 0.1 points lost");
  text += "\n";
  if (result.policy) return text + to_text(result.policy_options, *result.policy, color);
  return text + result.no_policy + "\n";
}

}  // namespace offramp::cli
