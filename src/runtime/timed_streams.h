#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "policy/policy.h"
#include "runtime/precision.h"
#include "runtime/ranges.h"

namespace offramp {

/// How threads share the work: streams with images of their own, and threads in every operation of
/// each.
struct Split {
  int streams = 1;
  int threads = 1;
  bool operator==(const Split&) const = default;
};

struct TimedStreamsOptions {
  Precision precision = Precision::f32;
  int batch = 1;  ///< images that run through a segment together, per stream
  Split split;
  Ranges ranges = {};  ///< for int8
};

/// What became of each image.
struct ImageOutcomes {
  explicit ImageOutcomes(std::size_t images)
      : exit_index(images, -1), answers(images, -1), seconds(images, 0) {}

  std::vector<int> exit_index;  ///< 0-based
  std::vector<int> answers;     ///< the class named there
  std::vector<double> seconds;  ///< from when the image was handed in to its answer
};

/// A network on a fixed number of streams, to be timed. Images really stop where the policy says,
/// and the time of deciding is part of what is timed; decoding and normalising are not.
class TimedStreams {
 public:
  /// @param weights  one tensor for each of parameters(graph); not needed afterwards
  /// @throws Error if a parameter is missing, the CPU lacks the precision, or oneDNN fails
  TimedStreams(const Graph& graph, const Tensors& weights, const TimedStreamsOptions& options);
  ~TimedStreams();

  /// Runs images until all have been answered; what waits for a fuller batch at the end is run in
  /// smaller ones.
  /// @param images    [N, C, H, W] f32, normalised
  /// @param order     which of them, in the order they are handed in
  /// @param policy    of as many exits as the network has
  /// @param outcomes  [N] written for the images run
  /// @return          seconds for all of them
  double run(std::span<const float> images, std::span<const std::int64_t> order,
             const Policy& policy, ImageOutcomes& outcomes);

 private:
  class Team;
  std::unique_ptr<Team> team_;
};

}  // namespace offramp
