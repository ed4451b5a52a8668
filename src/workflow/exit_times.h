#pragma once

#include <span>
#include <vector>

#include "core/predictor.h"

namespace offramp::workflow {

/// A network to be timed when all images stop at one of its exits.
struct TimedRun {
  core::Predictor* predictor;
  int exit_index;
};

/// For each run, measures the milliseconds per image when all images stop at its exit: the median
/// of several rounds, in which the runs take turns.
/// @param images  [N, C, H, W] normalised, for all runs
std::vector<double> measure_ms(const std::vector<TimedRun>& runs, std::span<const float> images);

}  // namespace offramp::workflow
