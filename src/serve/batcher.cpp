#include "serve/batcher.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace offramp::serve {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPriorities = 10;
// Survivors that never fill a batch, while newcomers keep coming, wait this long at most.
constexpr double kLongestWaitMs = 250;
constexpr std::chrono::milliseconds kStatsAge{250};

double ms_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

/// An image under way: the session knows it by its address.
struct UnderWay {
  ImageJob job;
  Clock::time_point taken;
};

}  // namespace

class Batcher::State {
 public:
  State(const Model& model, const BatcherOptions& options)
      : options_(options),
        by_default_(model.has_policy() ? Stop::by_policy() : Stop::never()),
        session_(model, {.probabilities = true, .max_pixels = options.max_pixels}),
        // Enough that every thread has a batch to run while fewer than a batch wait at each exit.
        most_under_way_((1L + model.num_exits()) * model.batch() * model.threads()) {
    stats_.exits.resize(static_cast<std::size_t>(model.num_exits()));
    stats_.session = session_.stats();
    stats_.guarantee = session_.guarantee();  // runs the images that the file stores
    StreamOptions stream;
    stream.from_any_thread = true;
    stream.images_stay = true;
    stream.most_pending = 2 * most_under_way_;
    stream.flush_after_ms =
        options.max_queue_delay_ms > 0 ? options.max_queue_delay_ms : kLongestWaitMs;
    session_.stream([this](std::int64_t id, const Answer& answer) { finish(id, answer); }, stream);
    thread_ = std::thread([this] { serve(); });
  }

  ~State() { close(); }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

  Admission submit(std::vector<ImageJob> jobs) {
    const auto count = static_cast<std::int64_t>(jobs.size());
    if (count > options_.max_queue) return Admission::too_many;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_ + count > options_.max_queue) return Admission::queue_full;
      for (ImageJob& job : jobs) {
        auto& queue = queues_[static_cast<std::size_t>(job.rule.priority)];
        queue.push_back(std::make_unique<UnderWay>(UnderWay{std::move(job), {}}));
      }
      waiting_ += count;
      pending_ += count;
    }
    changed_.notify_one();
    return Admission::admitted;
  }

  std::int64_t waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_;
  }
  std::int64_t pending() const {
    const std::lock_guard lock(mutex_);
    return pending_;
  }
  BatcherStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  using Jobs = std::vector<std::unique_ptr<UnderWay>>;

  void serve() {
    Jobs taken;
    for (;;) {
      bool more_wait = false;
      {
        std::unique_lock lock(mutex_);
        const auto has_work = [&] { return waiting_ > 0 || closing_; };
        const std::int64_t pending = session_.pending();
        if (pending == 0 && stats_are_old_) {
          if (!changed_.wait_for(lock, kStatsAge, has_work)) {
            lock.unlock();
            keep_session_stats();
            continue;
          }
        } else if (pending == 0) {
          changed_.wait(lock, has_work);
        } else if (const auto due = session_.next_due()) {
          changed_.wait_until(lock, *due, has_work);
        }
        if (closing_ && waiting_ == 0 && pending == 0) return;
        take(taken, most_under_way_ - pending);
        more_wait = waiting_ > 0;
      }
      run(taken, more_wait);
      stats_are_old_ = true;
      if (Clock::now() - stats_kept_ >= kStatsAge) keep_session_stats();
    }
  }

  /// REQUIRES: mutex_ is held.
  void take(Jobs& taken, std::int64_t most) {
    const auto now = Clock::now();
    for (auto& queue : queues_)
      while (!queue.empty() && static_cast<std::int64_t>(taken.size()) < most) {
        queue.front()->taken = now;
        taken.push_back(std::move(queue.front()));
        queue.pop_front();
      }
    waiting_ -= static_cast<std::int64_t>(taken.size());
    if (!taken.empty()) ++stats_.groups;
  }

  void run(Jobs& taken, bool more_wait) {
    std::erase_if(taken, [&](std::unique_ptr<UnderWay>& one) {
      if (!one->job.cancellation.is_cancelled()) return false;
      finish(*one, ImageResult::Kind::cancelled, {});
      return true;
    });
    if (taken.size() == 1 && !more_wait && session_.pending() == 0 &&
        options_.max_queue_delay_ms == 0) {
      run_alone(*taken.front());
    } else {
      for (auto& one : taken) push(std::move(one));
      see_to_what_waits(more_wait, more_wait && taken.empty());
    }
    taken.clear();
  }

  ImageOptions options_of(const UnderWay& one) const {
    ImageOptions options;
    options.stop = one.job.rule.stop_after(ms_between(one.job.arrived, Clock::now()), by_default_);
    options.cancellation = one.job.cancellation;
    return options;
  }

  void run_alone(UnderWay& one) {
    {
      const std::lock_guard lock(mutex_);
      ++stats_.alone;
    }
    try {
      finish(one, ImageResult::Kind::answered, session_.classify(one.job.image, options_of(one)));
    } catch (const Error& error) {
      Answer answer;
      answer.error = error.what();
      const bool cancelled = one.job.cancellation.is_cancelled();
      finish(one, cancelled ? ImageResult::Kind::cancelled : ImageResult::Kind::refused, answer);
    } catch (const std::exception&) {
      finish(one, ImageResult::Kind::failed, {});
    }
  }

  void push(std::unique_ptr<UnderWay> one) {
    try {
      const ImageOptions options = options_of(*one);
      const auto id = reinterpret_cast<std::int64_t>(one.get());
      const ImageView image = one->job.image;
      UnderWay* const raw = one.release();
      try {
        session_.push(id, image, options);
      } catch (const UsageError&) {  // then the session has not taken it
        one.reset(raw);
        throw;
      }
    } catch (const UsageError& error) {
      Answer answer;
      answer.error = error.what();
      finish(*one, ImageResult::Kind::refused, answer);
    } catch (const std::exception&) {
      // The session answers all that was under way, this one included, with the reason.
    }
  }

  void see_to_what_waits(bool more_wait, bool nothing_taken) {
    try {
      session_.poll();
      if (nothing_taken) session_.flush();  // there is room again only when some have left
      if (!more_wait && options_.max_queue_delay_ms == 0 && session_.pending() > 0) {
        {
          const std::lock_guard lock(mutex_);
          if (waiting_ > 0) return;  // they share the next batches
        }
        session_.flush();
      }
      if (closing()) session_.flush();
    } catch (const std::exception&) {
      // As in push().
    }
  }

  bool closing() const {
    const std::lock_guard lock(mutex_);
    return closing_;
  }

  void finish(std::int64_t id, const Answer& answer) {
    const std::unique_ptr<UnderWay> one(reinterpret_cast<UnderWay*>(id));
    const ImageResult::Kind kind = answer.ok()        ? ImageResult::Kind::answered
                                   : answer.cancelled ? ImageResult::Kind::cancelled
                                                      : ImageResult::Kind::refused;
    finish(*one, kind, answer);
  }

  void finish(UnderWay& one, ImageResult::Kind kind, Answer answer) {
    ImageResult result;
    result.kind = kind;
    result.queue_ms = ms_between(one.job.arrived, one.taken);
    result.total_ms = ms_between(one.job.arrived, Clock::now());
    if (kind == ImageResult::Kind::failed) answer.error = "the network could not be run";
    {
      const std::lock_guard lock(mutex_);
      --pending_;
      count(kind, answer, result);
    }
    result.answer = std::move(answer);
    one.job.done(std::move(result));
  }

  /// REQUIRES: mutex_ is held.
  void count(ImageResult::Kind kind, const Answer& answer, const ImageResult& result) {
    switch (kind) {
      case ImageResult::Kind::answered:
        ++stats_.answered;
        stats_.limited += answer.limited ? 1 : 0;
        ++stats_.exits[static_cast<std::size_t>(answer.exit - 1)];
        stats_.queue_ms += result.queue_ms;
        stats_.total_ms += result.total_ms;
        stats_.latency.add(result.total_ms);
        stats_.relative_cost += answer.relative_cost;
        stats_.last = std::chrono::system_clock::now();
        return;
      case ImageResult::Kind::refused:
        ++stats_.refused;
        return;
      case ImageResult::Kind::cancelled:
        ++stats_.cancelled;
        return;
      case ImageResult::Kind::failed:
        ++stats_.failed;
        return;
    }
  }

  void keep_session_stats() {
    stats_kept_ = Clock::now();
    stats_are_old_ = false;
    Stats stats = session_.stats();
    std::optional<Guarantee> guarantee = session_.guarantee_so_far();
    const std::lock_guard lock(mutex_);
    stats_.session = std::move(stats);
    stats_.guarantee = std::move(guarantee);
  }

  const BatcherOptions options_;
  const Stop by_default_;
  Session session_;  // of thread_, but for its callback
  const std::int64_t most_under_way_;
  Clock::time_point stats_kept_;
  bool stats_are_old_ = false;  // images were answered since

  mutable std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::array<std::deque<std::unique_ptr<UnderWay>>, kPriorities> queues_;
  std::int64_t waiting_ = 0, pending_ = 0;
  bool closing_ = false;
  BatcherStats stats_;

  std::thread thread_;
};

const std::vector<double>& LatencyCounts::bounds_ms() {
  static const std::vector<double> kBounds = [] {
    std::vector<double> bounds{0.1};
    while (bounds.size() < 60) bounds.push_back(1.25 * bounds.back());
    return bounds;
  }();
  return kBounds;
}
LatencyCounts::LatencyCounts() : counts_(bounds_ms().size() + 1) {}
void LatencyCounts::add(double milliseconds) {
  const auto bucket = std::ranges::lower_bound(bounds_ms(), milliseconds) - bounds_ms().begin();
  ++counts_[static_cast<std::size_t>(bucket)];
}

Batcher::Batcher(const Model& model, const BatcherOptions& options)
    : state_(std::make_unique<State>(model, options)) {}
Batcher::~Batcher() = default;

Batcher::Admission Batcher::submit(std::vector<ImageJob> jobs) {
  return state_->submit(std::move(jobs));
}
void Batcher::close() { state_->close(); }
std::int64_t Batcher::waiting() const { return state_->waiting(); }
std::int64_t Batcher::pending() const { return state_->pending(); }
BatcherStats Batcher::stats() const { return state_->stats(); }

}  // namespace offramp::serve
