#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_file.h"
#include "runtime/precision.h"
#include "workflow/machine_load.h"
#include "workflow/peak_rate.h"
#include "workflow/policy_choice.h"
#include "workflow/progress.h"

namespace offramp::workflow {

/// How a network is timed.
enum class BenchmarkMode {
  plain,       ///< without its early exits
  adaptive,    ///< images stop by the policy
  exhaustive,  ///< every exit of every image
};
std::string_view to_string(BenchmarkMode mode);
/// @throws UsageError for another word
BenchmarkMode benchmark_mode_from_string(std::string_view word);

struct BenchmarkOptions {
  std::filesystem::path model;             ///< or recipe, whose network gets random weights
  std::int64_t classes = 10;               ///< of a recipe's network
  std::string data = {};                   ///< test images, see load_data; empty: random images
  bool skip_trained = false;               ///< leave out images that the model was trained on
  std::int64_t images = 0;                 ///< how many; 0: all, or 512 random ones
  std::vector<Precision> precisions = {};  ///< empty: all that the CPU has instructions for
  std::vector<BenchmarkMode> modes = {};   ///< empty: plain, and adaptive where there is a policy
  std::vector<int> batches = {1, 32};
  int threads = 0;     ///< 0: usable_cores()
  double seconds = 2;  ///< each row at least
  PolicyChoice policy = {};
  /// Not empty: write the network, 64 of the images and the logits in each precision to this
  /// folder, for another engine to be compared with.
  std::filesystem::path keep = {};
  std::string command = "benchmark";  ///< what test_reads.jsonl names as the reader of test images
};

/// @throws UsageError naming the field if a value makes no sense
void check(const BenchmarkOptions& options);

/// How threads share the work: streams with images of their own, and threads in every operation of
/// each.
struct Split {
  int streams = 1;
  int threads = 1;
  bool operator==(const Split&) const = default;
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
struct BenchmarkRow {
  BenchmarkMode mode = BenchmarkMode::plain;
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

struct Benchmark {
  std::vector<BenchmarkRow> rows;
  std::vector<Ceiling> ceilings;
  MachineLoad load;
  int threads = 1;
  std::string data, policy, kernels;  ///< for people; no policy: empty
};

/// Times a model in all rows that the options ask for, in turns: each is timed in many short rounds
/// spread over the whole time, forwards and backwards. Images really stop where the policy says,
/// and the time of deciding is part of what is timed; decoding and normalising are not.
/// @throws UsageError as check; Error "<path>: …", or if the CPU lacks a precision that is asked
/// for; TrainedOnImages; Cancelled
Benchmark benchmark(const BenchmarkOptions& options, const Progress& progress = {});

/// What the machine can do at all, and what else it did meanwhile.
struct MachineCeilings {
  std::vector<Ceiling> ceilings;
  MachineLoad load;
};
/// @param threads  cores that are kept busy together; 0: all
MachineCeilings measure_machine(int threads);

}  // namespace offramp::workflow
