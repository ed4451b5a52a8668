#pragma once

#include <span>
#include <string>
#include <vector>

#include "eval/sweep.h"

namespace offramp::cli {

/// What is said with the curves of a sweep.
struct SweepFacts {
  std::string model, data, part;
};

/// @throws UsageError unless every name ends in .json or .csv
void check_sweep_names(const std::vector<std::string>& files);

/// Accuracy against cost for every criterion and ensemble: temperatures, weights and thresholds are
/// chosen on `tune`, and read on `view`. Written as JSON or CSV, by the file's ending.
/// @param costs  [K] relative
void write_sweeps(const std::vector<std::string>& files, const SweepFacts& facts,
                  const LogitsView& tune, const LogitsView& view, std::span<const double> costs);

}  // namespace offramp::cli
