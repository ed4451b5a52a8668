#include "runtime/timed_streams.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <exception>
#include <future>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "runtime/compile.h"
#include "runtime/onednn.h"
#include "runtime/stream.h"

namespace offramp {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

std::shared_ptr<const CompiledNetwork> compile_for(const Graph& graph, const Tensors& weights,
                                                   const TimedStreamsOptions& options) {
  if (options.batch < 1)
    throw UsageError("a batch must hold at least 1 image, got {}", options.batch);
  CompileOptions compiling{.precision = options.precision,
                           .batches = {},
                           .threads = options.split.threads,
                           .ranges = options.ranges};
  for (int batch = options.batch; batch >= 1; batch /= 2) compiling.batches.push_back(batch);
  WeightStore store;
  return compile(graph, weights, compiling, store);
}

}  // namespace

/// The streams, each on a thread of its own; the caller's is the first, so that no OpenMP threads
/// of another caller compete for the cores.
class TimedStreams::Team {
 public:
  Team(const std::shared_ptr<const CompiledNetwork>& network, Split split)
      : threads_each_(split.threads), meeting_(split.streams) {
    for (int i = 0; i < split.streams; ++i) streams_.push_back(std::make_unique<Stream>(network));
    std::promise<bool> all_started;
    threads_.start(
        split.streams - 1,
        [this, started = all_started.get_future().share()](int i) {
          if (started.get()) serve(*streams_[static_cast<std::size_t>(i) + 1]);
        },
        [&] { all_started.set_value(false); });
    all_started.set_value(true);
  }

  ~Team() {
    closing_ = true;
    meeting_.arrive_and_wait();
    threads_.join();
  }

  double run(std::span<const float> images, std::span<const std::int64_t> order,
             const Policy& policy, ImageOutcomes& outcomes) {
    const OmpThreads threads(threads_each_);
    images_ = images;
    order_ = order;
    policy_ = &policy;
    outcomes_ = &outcomes;
    const std::size_t count = outcomes.answers.size();
    opinions_.resize(count);
    started_.resize(count);
    portion_ = static_cast<std::size_t>(streams_[0]->network().batches.back());
    next_ = 0;
    const auto start = Clock::now();
    meeting_.arrive_and_wait();
    work(*streams_[0]);
    meeting_.arrive_and_wait();
    const double seconds = seconds_between(start, Clock::now());
    if (const std::exception_ptr error = std::exchange(error_, nullptr))
      std::rethrow_exception(error);
    return seconds;
  }

 private:
  void serve(Stream& stream) {
    omp_set_num_threads(threads_each_);
    while (true) {
      meeting_.arrive_and_wait();
      if (closing_) return;
      work(stream);
      meeting_.arrive_and_wait();
    }
  }

  bool visit(std::int64_t image, int exit_index, std::span<const float> logits) {
    const auto i = static_cast<std::size_t>(image);
    Opinion& opinion = opinions_[i];
    if (!consult(*policy_, exit_index, logits, opinion)) return false;
    outcomes_->exit_index[i] = exit_index;
    outcomes_->answers[i] = opinion.answer;
    outcomes_->seconds[i] = seconds_between(started_[i], Clock::now());
    return true;
  }

  void work(Stream& stream) {
    const auto visitor = [this](std::int64_t image, int exit_index, std::span<const float> logits) {
      return visit(image, exit_index, logits);
    };
    const ExitVisitor visit_by_reference = std::cref(visitor);
    try {
      const auto size = static_cast<std::size_t>(element_count(stream.network().input));
      for (std::size_t begin = next_.fetch_add(portion_); begin < order_.size();
           begin = next_.fetch_add(portion_))
        for (std::size_t n = begin; n < std::min(begin + portion_, order_.size()); ++n) {
          const auto image = static_cast<std::size_t>(order_[n]);
          started_[image] = Clock::now();
          stream.push(order_[n], images_.subspan(image * size, size), visit_by_reference);
        }
      stream.flush(visit_by_reference);
    } catch (...) {
      stream.clear();
      next_ = order_.size();
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  int threads_each_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::barrier<> meeting_;
  bool closing_ = false;  // set before a meeting

  // The work at hand.
  std::span<const float> images_;
  std::span<const std::int64_t> order_;
  const Policy* policy_ = nullptr;
  ImageOutcomes* outcomes_ = nullptr;
  std::vector<Opinion> opinions_;           // [N]
  std::vector<Clock::time_point> started_;  // [N]
  std::size_t portion_ = 1;
  std::atomic<std::size_t> next_ = 0;
  std::mutex mutex_;
  std::exception_ptr error_;
  Threads threads_;
};

TimedStreams::TimedStreams(const Graph& graph, const Tensors& weights,
                           const TimedStreamsOptions& options)
    : team_(std::make_unique<Team>(compile_for(graph, weights, options), options.split)) {}

TimedStreams::~TimedStreams() = default;

double TimedStreams::run(std::span<const float> images, std::span<const std::int64_t> order,
                         const Policy& policy, ImageOutcomes& outcomes) {
  return team_->run(images, order, policy, outcomes);
}

}  // namespace offramp
