#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/engine.h"
#include "cli/machine_load.h"
#include "cli/policy_flags.h"
#include "model/model_file.h"
#include "runtime/timed_streams.h"
#include "workflow/peak_rate.h"

namespace offramp::cli {

/// Of `offramp bench`.
struct BenchFlags {
  std::string model, data, keep;
  std::vector<std::string> precisions;  ///< empty: all that the CPU has instructions for
  std::vector<std::string> modes;       ///< empty: plain, and adaptive where there is a policy
  std::vector<int> batches = {1, 32};
  int threads = 0;            ///< 0: all cores
  std::int64_t images = 0;    ///< 0: all
  std::int64_t classes = 10;  ///< of a recipe's network
  double seconds = 2;         ///< each row at least
  bool ceiling = false, skip_trained = false, json = false;
  PolicyFlags policy;
};

/// How long images took, in milliseconds, over all images timed.
struct Latency {
  double p50 = 0, p95 = 0, p99 = 0, max = 0;
};

/// @param seconds  [N] at least one, in any order
Latency latency_of(std::vector<double> seconds);

/// One way to share the threads, timed.
struct SplitTime {
  Split split;
  double images_per_second = 0;  ///< median of the rounds
};

/// One line of the result: a network in one precision and batch size, at its best split.
struct BenchRow {
  std::string mode;  ///< "plain": without its early exits; "adaptive": stops by the policy;
                     ///< "exhaustive": every exit of every image
  std::string precision;
  int batch = 1;
  SplitTime best;
  std::optional<SplitTime> other;  ///< of a short trial
  Latency latency;
  std::int64_t images = 0;  ///< different ones
  int rounds = 0;
  std::optional<double> accuracy;          ///< where the images have labels
  double relative_cost = 1;                ///< mean, executed
  std::vector<double> shares;              ///< [K] of images that left at each exit
  std::optional<double> share_of_ceiling;  ///< multiply-adds a second, of the machine's
};

struct BenchResult {
  std::vector<BenchRow> rows;
  std::vector<Ceiling> ceilings;
  MachineLoad load;
  int threads = 1;
  std::string data, policy;  ///< for people; no policy: empty
};

/// What is timed: images as the network takes them, and where there are any, their labels.
struct BenchImages {
  std::vector<float> pixels;  ///< [N, C, H, W]
  std::vector<std::int64_t> labels;
  std::string source;

  std::int64_t count(const ModelFile& model) const;
};

/// The precisions that the flags name; without any, all that the CPU has instructions for, int8
/// only for a model that has ranges.
/// @throws UsageError for one that does not exist, Error for one without instructions
std::vector<Precision> precisions_of(const BenchFlags& flags, const ModelFile& model);

/// A model that can be timed in int8. Without ranges of its own, those of the images timed will do
/// for a time, but not for an accuracy.
/// @throws Error for images with labels and a model without ranges
ModelFile with_ranges(const ModelFile& model, const BenchImages& images);

/// Times a model in all rows that the flags ask for, in turns: each is timed in many short rounds
/// spread over the whole time, forwards and backwards.
/// @throws UsageError for a precision, mode or batch that does not exist; Error if the network
///         cannot be compiled
BenchResult bench(const ModelFile& model, const BenchImages& images, const BenchFlags& flags);

}  // namespace offramp::cli
