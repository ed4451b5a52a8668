#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/calibrate_output.h"
#include "cli/command.h"
#include "workflow/quantize.h"
#include "cli/terminal.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

std::string points(double difference) {
  const double value = 100 * difference;
  return fmt::format("{}{:.2f}", value < 0 ? "−" : "+", std::abs(value));
}

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

int run(const QuantizeFlags& flags) {
  const Quantized result = quantize(flags);
  write_out(flags.json ? to_json_text(flags, result) : to_text(flags, result, may_color(stdout)));
  return 0;
}

}  // namespace

std::string to_json_text(const QuantizeFlags& flags, const Quantized& result) {
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
  const json text = {
      {"model", flags.model},
      {"written_to", flags.written_to()},
      {"precision", flags.precision},
      {"observed_images", result.observed},
      {"tune", {{"images", result.tune_images}, {"exits", exits}}},
      {"within_bounds", result.within_bounds},
      {"bytes", {{"before", result.bytes_before}, {"after", result.bytes}}},
      {"policy", result.policy ? json::parse(to_json_text(result.policy_flags, *result.policy))
                               : json(nullptr)}};
  return text.dump(2) + "\n";
}

std::string to_text(const QuantizeFlags& flags, const Quantized& result, bool color) {
  std::string text = heading(fmt::format("{} in {}, on {} tune images", printable(flags.model),
                                         flags.precision, with_commas(result.tune_images)),
                             color) +
                     "\n";
  Table table({"exit", "accuracy in f32", "in " + flags.precision, "difference, points", "95 %",
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
                        with_commas(result.observed));
  text += fmt::format("written to {}: {}, before {}\n", printable(flags.written_to()),
                      megabytes(result.bytes), megabytes(result.bytes_before));
  if (!result.within_bounds)
    text += fmt::format("outside the bounds of {} ({}): who does not ask for it gets f32\n",
                        flags.precision,
                        flags.precision == "int8" ? "98.5 % the same answers, 0.3 point lost"
                                                  : "99.5 % the same answers, 0.1 point lost");
  text += "\n";
  if (result.policy) return text + to_text(result.policy_flags, *result.policy, color);
  return text + result.no_policy + "\n";
}

void add_quantize_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App* command = app.add_subcommand(
      "quantize", "Write a deployment file in int8 or bf16, say what that costs, choose anew");
  command->add_option("model", flags->model, "Model file")->required();
  command
      ->add_option("--data", flags->data,
                   "The data set it was trained on: training images give the ranges, tune images "
                   "the losses")
      ->required();
  command->add_option("-o,--out", flags->out,
                      "The deployment file (default: beside the model, .int8.safetensors)");
  command->add_option("--precision", flags->precision, "int8 or bf16")->capture_default_str();
  command
      ->add_option("--images", flags->images, "Training images to observe ranges on, spread evenly")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option("--threads", flags->threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
