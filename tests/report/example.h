#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/random.h"
#include "report/report.h"

namespace offramp::test {

/// A report's input with the memory that its views point to. It must not be copied, because the
/// copy's views would point into the original.
struct Example {
  Example() = default;
  Example(const Example&) = delete;
  Example& operator=(const Example&) = delete;

  std::vector<float> logits;
  std::vector<std::int64_t> labels;
  report::ReportInput input;
};

/// Computes all members that follow from logits, labels and the policy's thresholds.
inline void complete(Example& example, int exits, int classes, int side) {
  report::ReportInput& input = example.input;
  input.test = {example.logits, example.labels, exits, classes};
  input.title = "run";
  input.data = "data";
  input.classes.clear();
  for (int c = 0; c < classes; ++c) input.classes.push_back("class" + std::to_string(c));
  for (int k = 0; k < exits; ++k) {
    input.exit_units.push_back("layer" + std::to_string(k + 1));
    input.costs.push_back(static_cast<double>(k + 1) / exits);
  }
  input.metrics =
      eval::measure(input.test, std::vector<double>(static_cast<std::size_t>(exits), 1.0));
  if (input.policy.policy.temperatures.empty()) input.policy.policy = policy::never_stop(exits);
  std::vector<std::int64_t> last;
  policy::ExitState exit_state;
  for (std::int64_t i = 0; i < input.test.images(); ++i) {
    int k = 0;
    while (!policy::should_exit(input.policy.policy, k, input.test.at(k, i), exit_state)) ++k;
    input.policy.exit_index.push_back(k);
    input.policy.answers.push_back(exit_state.answer);
    last.push_back(policy::argmax(input.test.at(exits - 1, i)));
    input.names.push_back("image" + std::to_string(i) + ".png");
  }
  input.policy.metrics = eval::measure_policy(
      {example.labels, input.policy.exit_index, input.policy.answers, last}, input.costs);
  input.no_curves = "There is no tune image.";
  input.image = [side](std::int64_t i) {
    image::Image image{side, side,
                       std::vector<std::uint8_t>(static_cast<std::size_t>(3 * side * side))};
    core::KeyedRandom random(1, static_cast<std::uint64_t>(i));
    for (auto& value : image.rgb) value = static_cast<std::uint8_t>(random.next());
    return image;
  };
}

/// Fills in random logits, whose accuracy grows from exit to exit, and a policy that stops at a
/// confidence of 0.9.
inline void fill_randomly(Example& example, int exits, int classes, int images, int side) {
  core::KeyedRandom random(3, 5);
  for (int i = 0; i < images; ++i)
    example.labels.push_back(static_cast<std::int64_t>(random.below(classes)));
  for (int k = 0; k < exits; ++k)
    for (int i = 0; i < images; ++i)
      for (int c = 0; c < classes; ++c)
        example.logits.push_back(random.uniform(0, 5) +
                                 (c == example.labels[i] ? random.uniform(0, 4.0f + k) : 0));
  if (exits > 1) {
    example.input.policy.policy = policy::never_stop(exits);
    for (auto& threshold : example.input.policy.policy.thresholds) threshold = 0.9f;
    for (auto& temperature : example.input.policy.policy.temperatures) temperature = 0.8f;
    example.input.policy.aim = "--threshold 0.9";
  }
  complete(example, exits, classes, side);
}

}  // namespace offramp::test
