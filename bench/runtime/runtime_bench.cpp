// Compares the time of a plain ResNet-18 (cifar stem, 32x32, random weights) with the sum of its
// bare convolutions, measured alternately in one run. Also times exit decisions and prints the
// compiled operations.
//
//   runtime_bench [width] [--ops] [--profile] [--model FILE] [--precision f32|bf16|int8]
//
// --ops lists the operations with implementation and layout. --profile times each convolution in
// its network and bare. --model uses the network, the weights and the shares of images per exit of
// a model with a policy for the adaptive run. "1x2" is one stream with two threads in every
// operation; "2x1" is two streams with one thread each. Times are medians and exclude decoding. A
// bare convolution runs repeatedly on the same memory.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "core/error.h"
#include "core/numbers.h"
#include "core/random.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "policy/policy.h"
#include "runtime/activation_ranges.h"
#include "runtime/compile.h"
#include "runtime/convolution.h"
#include "runtime/onednn.h"
#include "runtime/workspace.h"
#include "tests/support/runner_predictor.h"

namespace offramp {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Returns the median time of a call in seconds, measured for about `budget` seconds.
template <typename F>
double time_of(const F& call, double budget = 0.5) {
  for (int i = 0; i < 2; ++i) call();
  std::vector<double> times;
  for (const auto start = Clock::now(); seconds_since(start) < budget || times.size() < 5;) {
    const auto before = Clock::now();
    call();
    times.push_back(seconds_since(before));
  }
  return core::median(std::move(times));
}

graph::Graph network(int width, std::vector<std::string> exits, const std::string& head) {
  graph::NetworkSpec spec;
  spec.options.width = width;
  spec.exits = std::move(exits);
  spec.heads = {head};
  return graph::build_network(spec);
}

/// Runs a function on several threads at once, which start together and wait for each other at the
/// end. The calling thread is one of them, because OpenMP threads of an idle caller would compete
/// for the cores.
class Team {
 public:
  explicit Team(int members) : meeting_(members) {
    for (int i = 1; i < members; ++i)
      threads_.emplace_back([this, i] {
        omp_set_num_threads(1);
        while (true) {
          meeting_.arrive_and_wait();
          if (call_ == nullptr) return;
          (*call_)(i);
          meeting_.arrive_and_wait();
        }
      });
  }
  ~Team() {
    call_ = nullptr;
    meeting_.arrive_and_wait();
    for (std::thread& thread : threads_) thread.join();
  }
  void run(const std::function<void(int)>& call) {
    call_ = &call;
    meeting_.arrive_and_wait();
    call(0);
    meeting_.arrive_and_wait();
  }

 private:
  std::barrier<> meeting_;
  const std::function<void(int)>* call_ = nullptr;
  std::vector<std::thread> threads_;
};

struct Aligned {
  explicit Aligned(std::size_t bytes)
      : memory(static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64)),
               std::free) {
    std::fill_n(memory.get(), bytes, std::byte{0});
  }
  std::unique_ptr<std::byte, void (*)(void*)> memory;
};

/// One convolution of a compiled segment, with its own memory.
struct BareConvolution {
  BareConvolution(const runtime::CompiledSegment& segment, const runtime::Step& step)
      : src(bytes(segment, step.srcs[0])),
        dst(bytes(segment, step.dst)),
        scratch(step.operation->scratch_bytes()),
        bound(step.operation->bind({{src.memory.get()}, dst.memory.get(), scratch.memory.get()},
                                   dnnl::stream(runtime::cpu_engine()))) {}
  static std::size_t bytes(const runtime::CompiledSegment& segment, int value) {
    return segment.values[static_cast<std::size_t>(value)].layout.bytes() *
           static_cast<std::size_t>(segment.batch);
  }
  Aligned src, dst, scratch;
  std::unique_ptr<runtime::BoundOperation> bound;
};

/// A network with its weights, and its activation ranges for int8.
struct NetworkWithWeights {
  NetworkWithWeights(graph::Graph network, core::Tensors tensors)
      : graph(std::move(network)), weights(std::move(tensors)) {
    if (runtime::has_instructions_for(runtime::Precision::int8))
      ranges = runtime::observe_ranges(graph, weights, graph::random_images(graph, 16, 77), 2);
  }
  explicit NetworkWithWeights(const graph::Graph& network)
      : NetworkWithWeights(network, graph::random_weights(network, 1)) {}

  std::shared_ptr<const runtime::CompiledNetwork> compiled(runtime::Precision precision, int batch,
                                                           int threads) const {
    runtime::WeightStore store;
    return runtime::compile(
        graph, weights,
        {.precision = precision, .batches = {batch}, .threads = threads, .ranges = ranges}, store);
  }
  std::shared_ptr<engine::OpenedModel> model(runtime::Precision precision, int threads,
                                             int batch) const {
    return open_network(graph, weights, {precision, threads, batch, ranges});
  }

  graph::Graph graph;
  core::Tensors weights;
  model::ActivationRanges ranges;
};

/// Returns the requested precisions that this CPU has instructions for.
std::vector<runtime::Precision> precisions(const std::string& only) {
  std::vector<runtime::Precision> all = {runtime::Precision::f32, runtime::Precision::bf16,
                                         runtime::Precision::int8};
  std::erase_if(all, [&](runtime::Precision precision) {
    return !runtime::has_instructions_for(precision) ||
           (!only.empty() && to_string(precision) != only);
  });
  return all;
}

void compare_with_convolutions(const NetworkWithWeights& network_with_weights,
                               runtime::Precision precision, int batch, int streams,
                               int threads_each) {
  const auto compiled = network_with_weights.compiled(precision, batch, threads_each);
  const std::size_t size = compiled->batches.size() - 1;
  const runtime::CompiledSegment& segment = compiled->stages[0].sizes[size];
  std::vector<std::unique_ptr<runtime::Workspace>> workspaces;
  for (int i = 0; i < streams; ++i)
    workspaces.push_back(std::make_unique<runtime::Workspace>(compiled));

  const runtime::OmpThreads threads(threads_each);
  Team team(streams);
  const auto whole = [&] {
    team.run([&](int i) {
      runtime::Workspace& workspace = *workspaces[static_cast<std::size_t>(i)];
      workspace.run_body(0, size, 0);
      workspace.run_head(0, size, 0);
    });
  };
  const auto convolutions = [&] {
    double sum = 0;
    for (const runtime::Step& step : segment.body) {
      std::vector<BareConvolution> bare;
      for (int i = 0; i < streams; ++i) bare.emplace_back(segment, step);
      constexpr int kRepeats = 4;
      sum += time_of(
                 [&] {
                   team.run([&](int i) {
                     for (int r = 0; r < kRepeats; ++r)
                       bare[static_cast<std::size_t>(i)].bound->run();
                   });
                 },
                 0.05) /
             kRepeats;
    }
    return sum;
  };
  std::vector<double> wholes, sums;
  for (int turn = 0; turn < 3; ++turn) {
    wholes.push_back(time_of(whole, 0.7));
    sums.push_back(convolutions());
  }
  const double network = core::median(wholes), sum = core::median(sums);
  fmt::print("{:>5} {:>6} {:>5}x{} {:>12.3f} {:>14.3f} {:>8.3f} {:>11.0f}\n", to_string(precision),
             batch, streams, threads_each, network * 1e3, sum * 1e3, network / sum,
             batch * streams / network);
  std::fflush(stdout);
}

/// Prints the time of every convolution in its network and bare, for one image.
void profile(const NetworkWithWeights& network_with_weights, runtime::Precision precision,
             int threads_each) {
  const auto compiled = network_with_weights.compiled(precision, 1, threads_each);
  const runtime::CompiledSegment& segment = compiled->stages[0].sizes[0];
  const runtime::OmpThreads threads(threads_each);
  runtime::Workspace workspace(compiled);
  const auto operations = workspace.body(0, 0, 0);
  std::vector<std::vector<double>> times(operations.size());
  for (int i = 0; i < 200; ++i)
    for (std::size_t step = 0; step < operations.size(); ++step) {
      const auto start = Clock::now();
      operations[step]->run();
      times[step].push_back(seconds_since(start));
    }
  for (std::size_t step = 0; step < operations.size(); ++step) {
    const BareConvolution bare(segment, segment.body[step]);
    const double alone = time_of([&] { bare.bound->run(); }, 0.05);
    const double within = core::median(times[step]);
    fmt::print("{:>5} 1x{} {:<22} {:<40} {:>8.1f} us, bare {:>8.1f} us, {:>5.2f}\n",
               to_string(precision), threads_each, segment.body[step].output,
               segment.body[step].kind, within * 1e6, alone * 1e6, within / alone);
  }
}

void time_predictor(const NetworkWithWeights& network_with_weights, runtime::Precision precision,
                    int images) {
  const auto pixels = graph::random_images(network_with_weights.graph, images, 1);
  for (const int batch : {1, 2, 4, 8, 16, 32}) {
    const auto start = Clock::now();
    const auto model = network_with_weights.model(precision, 0, batch);
    const double compiling = seconds_since(start);
    RunnerPredictor predictor(model);
    const double time = time_of([&] { predictor.predict_all(pixels); }, 1.0);
    fmt::print(
        "{:>5} {:>6} images, batches of {:>2}: {:>8.3f} ms {:>6.0f} images/s, compiled in {:.0f} "
        "ms\n",
        to_string(precision), images, batch, time * 1e3, images / time, compiling * 1e3);
    if (images == 1) break;
  }
  std::fflush(stdout);
}

/// Times head, softmax and criterion for one image on one thread.
void time_decisions(int width, runtime::Precision precision, const std::string& head) {
  const NetworkWithWeights network_with_weights(network(width, {"2", "4"}, head));
  const auto compiled = network_with_weights.compiled(precision, 1, 1);
  const runtime::OmpThreads threads(1);
  runtime::Workspace workspace(compiled);
  policy::Policy policy = policy::never_stop(3);
  policy.criterion = policy::Criterion::entropy;  // the most expensive criterion
  policy.thresholds = {2.0f, 2.0f};  // scores are compared with them but never reach them
  policy::ExitState exit_state;
  for (std::size_t stage = 0; stage < 2; ++stage) {
    std::vector<double> times;
    int stopped = 0;
    for (int i = 0; i < 300; ++i) {
      workspace.run_body(stage, 0, 0);  // so that the feature is in the cache, as in a real run
      const auto start = Clock::now();
      workspace.run_head(stage, 0, 0);
      stopped += policy::should_exit(policy, static_cast<int>(stage),
                                     workspace.logits(stage, 0, 0, 0), exit_state);
      times.push_back(seconds_since(start));
    }
    fmt::print("{:>5} {:>4} head at exit {}: {:>6.1f} us{}\n", to_string(precision), head,
               stage + 1, core::median(times) * 1e6, stopped > 0 ? " stopped" : "");
  }
}

/// Times a run in which images exit at random with given shares, and compares it with the sum of
/// the times of the segments and heads that these images need. Each of two threads processes its
/// own images.
/// @param shares  [K] share of the images that take each exit
void time_adaptive(const NetworkWithWeights& network_with_weights, std::span<const double> shares,
                   runtime::Precision precision, int batch) {
  constexpr int kImages = 1000;
  RunnerPredictor predictor(network_with_weights.model(precision, 2, batch));
  const auto pixels = graph::random_images(network_with_weights.graph, kImages, 1);
  const auto takes_exit = [&](std::int64_t image, const core::ExitOutput& output) {
    double draw = core::KeyedRandom(1, static_cast<std::uint64_t>(image)).uniform();
    for (int k = 0; k <= output.exit_index; ++k) draw -= shares[static_cast<std::size_t>(k)];
    return draw < 0;
  };
  predictor.predict_until(pixels, takes_exit);
  const std::vector<std::int64_t> images_per_stage = predictor.counts().images;

  const auto compiled = network_with_weights.compiled(precision, batch, 1);
  const std::size_t size = compiled->batches.size() - 1;
  runtime::Workspace first(compiled), second(compiled);
  const runtime::OmpThreads threads(1);
  Team team(2);
  const auto measure_segments = [&] {
    double sum = 0;
    for (std::size_t stage = 0; stage < compiled->stages.size(); ++stage) {
      const bool has_exit = compiled->stages[stage].exit_index >= 0;
      const double both = time_of(
          [&] {
            team.run([&](int i) {
              runtime::Workspace& own = i == 0 ? first : second;
              own.run_body(stage, size, 0);
              if (has_exit) own.run_head(stage, size, 0);
            });
          },
          0.5);
      sum += both / (2 * batch) * static_cast<double>(images_per_stage[stage]);
    }
    return sum;
  };
  std::vector<double> segment_times, times;
  for (int turn = 0; turn < 3; ++turn) {
    segment_times.push_back(measure_segments());
    times.push_back(time_of([&] { predictor.predict_until(pixels, takes_exit); }, 1.0));
  }
  const double segment_time = core::median(segment_times), time = core::median(times);
  fmt::print(
      "{:>5} adaptive, {} images, batches of {:>2}: {:>6.0f} images/s, {:.3f} of the speed of the "
      "segments alone\n",
      to_string(precision), kImages, batch, kImages / time, segment_time / time);
  std::fflush(stdout);
}

/// Runs time_adaptive with the shares per exit that the model file stores for its policy.
void time_model(const std::string& path, const std::vector<runtime::Precision>& precisions) {
  model::ModelFile model = model::load_model(path);
  if (!model.policy || !model.policy->seen)
    throw Error(fmt::format(
        "{}: the model has no policy with shares of images per exit; run offramp calibrate", path));
  const std::vector<double> shares = model.policy->seen->shares;
  const NetworkWithWeights network_with_weights(std::move(model.graph), std::move(model.weights));
  fmt::print("{}: shares of the images per exit: {:.3f}\n", path, fmt::join(shares, ", "));
  for (const runtime::Precision precision : precisions)
    for (const int batch : {1, 8, 32})
      time_adaptive(network_with_weights, shares, precision, batch);
}

void print_operations(const NetworkWithWeights& network_with_weights,
                      runtime::Precision precision) {
  for (const runtime::CompiledRow& row :
       runtime::compiled_rows(*network_with_weights.compiled(precision, 32, 1)))
    fmt::print("{:<7} {:<22} {:<52} {:<28} {}\n", row.segment, row.output, row.kind,
               row.implementation, to_string(row.dst));
}

void run(int width, bool operations, bool profiles, const std::string& model,
         const std::vector<runtime::Precision>& precisions) {
  const NetworkWithWeights plain(network(width, {}, "avg"));
  if (operations)
    for (const runtime::Precision precision : precisions) print_operations(plain, precision);
  if (profiles)
    for (const runtime::Precision precision : precisions)
      for (const int threads : {1, 2}) profile(plain, precision, threads);
  for (const std::string head : {"avg", "spp"})
    for (const runtime::Precision precision : precisions) time_decisions(width, precision, head);
  if (model.empty()) {
    const NetworkWithWeights with_exits(network(width, {"2", "4"}, "spp"));
    for (const runtime::Precision precision : precisions)
      for (const int batch : {1, 8, 32})
        time_adaptive(with_exits, std::array{0.41, 0.27, 0.32}, precision, batch);
  } else {
    time_model(model, precisions);
  }
  fmt::print("{:>5} {:>6} {:>7} {:>12} {:>14} {:>8} {:>11}\n", "", "batch", "split", "network, ms",
             "convs, ms", "ratio", "images/s");
  for (const runtime::Precision precision : precisions) {
    for (const int batch : {1, 32}) {
      compare_with_convolutions(plain, precision, batch, 1, 2);
      compare_with_convolutions(plain, precision, batch, 2, 1);
    }
    for (const int images : {1, 32, 256}) time_predictor(plain, precision, images);
  }
}

}  // namespace
}  // namespace offramp

int main(int argc, char** argv) {
  int width = 64;
  bool operations = false, profiles = false;
  std::string model, only;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--ops")
      operations = true;
    else if (argument == "--profile")
      profiles = true;
    else if (argument == "--model" && i + 1 < argc)
      model = argv[++i];
    else if (argument == "--precision" && i + 1 < argc)
      only = argv[++i];
    else
      width = std::atoi(argv[i]);
  }
  try {
    offramp::run(width, operations, profiles, model, offramp::precisions(only));
  } catch (const offramp::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
