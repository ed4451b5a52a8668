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

/// How far the images of a benchmark run.
enum class BenchmarkMode {
  plain,       ///< the network without its early exits
  adaptive,    ///< each image stops where the policy says
  exhaustive,  ///< every exit is computed for every image
};
std::string_view to_string(BenchmarkMode mode);
/// @throws UsageError if `word` is not the name of a mode
BenchmarkMode benchmark_mode_from_string(std::string_view word);

struct BenchmarkOptions {
  std::filesystem::path model;  ///< a model, or a recipe, whose network gets random weights
  std::int64_t classes = 10;    ///< number of classes of a recipe's network
  std::string data = {};        ///< source of the test images, see load_data; empty: random images
  bool skip_trained = false;    ///< leave out images that the model was trained on
  std::int64_t images = 0;      ///< number of images; 0: all test images, or 512 random ones
  std::vector<runtime::Precision> precisions =
      {};                                 ///< empty: all that the CPU has instructions for
  std::vector<BenchmarkMode> modes = {};  ///< empty: plain, and adaptive if there is a policy
  std::vector<int> batches = {1, 32};     ///< batch sizes, in images
  int threads = 0;                        ///< 0: usable_cores()
  double seconds = 2;                     ///< each row is timed for at least this long
  PolicyChoice policy = {};
  /// If not empty, the network, 64 of the images and their logits in each precision are written to
  /// this folder, so that another engine can be compared on the same input.
  std::filesystem::path keep = {};
  std::string command = "benchmark";  ///< the name under which test_reads.jsonl records the run
};

/// @throws UsageError that names the field whose value is not allowed
void check(const BenchmarkOptions& options);

/// How the threads share the work: each stream runs its own images, and several threads together
/// compute each operation of a stream.
struct Split {
  int streams = 1;
  int threads = 1;  ///< threads of each stream
  bool operator==(const Split&) const = default;
};

/// Percentiles of the time that an image takes, in milliseconds, over all timed images.
struct Latency {
  double p50 = 0, p95 = 0, p99 = 0, max = 0;
};

/// @param seconds  [N] the times of N >= 1 images, in any order
Latency latency_of(std::vector<double> seconds);

/// The measured rate of one way to share the threads.
struct SplitTime {
  Split split;
  double images_per_second = 0;  ///< median throughput over the rounds
};

/// One row of the result: a network in one precision and batch size, with the faster split.
struct BenchmarkRow {
  BenchmarkMode mode = BenchmarkMode::plain;
  std::string precision;
  int batch = 1;
  SplitTime best;
  std::optional<SplitTime> other;  ///< the slower split, from a short trial; empty with one thread
  Latency latency;
  std::int64_t images = 0;         ///< number of different images
  int rounds = 0;                  ///< number of timed rounds
  std::optional<double> accuracy;  ///< empty if the images have no labels
  double relative_cost = 1;        ///< mean relative cost of the images, as executed
  std::vector<double> shares;      ///< [K] share of the images that stopped at each exit
  /// Multiply-adds per second divided by the machine's peak rate.
  std::optional<double> share_of_ceiling;
};

struct Benchmark {
  std::vector<BenchmarkRow> rows;
  std::vector<Ceiling> ceilings;
  MachineLoad load;
  int threads = 1;
  std::string data, policy, kernels;  ///< descriptions for people; policy is empty if there is none
};

/// Times a model in all combinations of mode, precision and batch size. The rows take turns: each
/// is timed in many short rounds that are spread over the whole run, in alternating order, so that
/// a slow phase of the machine affects all rows alike. Images really stop where the policy says.
/// The times include the decisions of the policy, but not decoding and normalising.
/// @throws UsageError as check(); Error "<path>: …", or if the CPU has no instructions for a
/// requested precision; TrainedOnImages; Cancelled
Benchmark benchmark(const BenchmarkOptions& options, const Progress& progress = {});

/// The machine's peak rates, and its other load while they were measured.
struct MachineCeilings {
  std::vector<Ceiling> ceilings;
  MachineLoad load;
};
/// @param threads  number of cores that are measured together; 0: all
MachineCeilings measure_machine(int threads);

}  // namespace offramp::workflow
