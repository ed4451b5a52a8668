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

/// Milliseconds per image of the parts of a network.
struct PartTimes {
  std::vector<double> body;  ///< [K] times of the layers up to each exit, no head; increasing
  std::vector<double> head;  ///< [K] times of the heads; 0 for the last, which is part of its body
};

/// Computes the times of layers and heads from the times of three networks: with every head, with a
/// head of least cost at each place (all equally expensive), and without early exits.
/// @param every  [places × kinds + 1] times up to each exit; the heads of one place are consecutive
/// @param least  [places + 1] times up to each exit
/// @param plain  time of the network without early exits
PartTimes times_of_parts(std::span<const double> every, std::span<const double> least,
                         double plain);

}  // namespace offramp::workflow
