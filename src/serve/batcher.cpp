#include "serve/batcher.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <list>
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

/// An image on its way from the queue to its answer: the session knows it by its address. It moves
/// from list to list as it is, so that nothing needs memory after submit().
struct UnderWay {
  ImageJob job;
  Clock::time_point taken;
  std::list<UnderWay>::iterator self;
};
using Jobs = std::list<UnderWay>;

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
    Jobs fresh;
    for (ImageJob& job : jobs) {
      fresh.push_back({std::move(job), {}, {}});
      fresh.back().self = std::prev(fresh.end());
    }
    {
      const std::lock_guard lock(mutex_);
      if (waiting_ + count > options_.max_queue) return Admission::queue_full;
      while (!fresh.empty()) {
        Jobs& queue = queues_[static_cast<std::size_t>(fresh.front().job.rule.priority)];
        queue.splice(queue.end(), fresh, fresh.begin());
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
  void serve() {
    for (;;) {
      Jobs taken;
      try {
        if (!serve_once(taken)) break;
      } catch (const std::exception&) {  // no memory, most likely
        is_in_doubt_ = true;
        while (!taken.empty()) fail(taken);
      }
      if (is_in_doubt_) answer_the_forgotten();
    }
    if (is_in_doubt_) answer_the_forgotten();
  }

  /// @param taken  empty; the images that were taken from the queue and are nobody else's yet
  /// @return false once everything is answered and the batcher is closing
  bool serve_once(Jobs& taken) {
    bool more_wait = false;
    {
      std::unique_lock lock(mutex_);
      const auto has_work = [&] { return waiting_ > 0 || closing_; };
      const std::int64_t pending = session_.pending();
      if (pending == 0 && stats_are_old_) {
        if (!changed_.wait_for(lock, kStatsAge, has_work)) {
          lock.unlock();
          keep_session_stats();
          return true;
        }
      } else if (pending == 0) {
        changed_.wait(lock, has_work);
      } else if (const auto due = session_.next_due()) {
        changed_.wait_until(lock, *due, has_work);
      }
      if (closing_ && waiting_ == 0 && pending == 0) return false;
      take(taken, most_under_way_ - pending);
      more_wait = waiting_ > 0;
    }
    run(taken, more_wait);
    stats_are_old_ = true;
    if (Clock::now() - stats_kept_ >= kStatsAge) keep_session_stats();
    return true;
  }

  /// REQUIRES: mutex_ is held.
  void take(Jobs& taken, std::int64_t most) {
    const auto now = Clock::now();
    for (Jobs& queue : queues_)
      while (!queue.empty() && static_cast<std::int64_t>(taken.size()) < most) {
        queue.front().taken = now;
        taken.splice(taken.end(), queue, queue.begin());
      }
    waiting_ -= static_cast<std::int64_t>(taken.size());
    if (!taken.empty()) ++stats_.groups;
  }

  void run(Jobs& taken, bool more_wait) {
    for (auto next = taken.begin(); next != taken.end();) {
      const auto one = next++;
      if (one->job.cancellation.is_cancelled()) finish(take_out(taken, one), cancelled());
    }
    if (taken.size() == 1 && !more_wait && session_.pending() == 0 &&
        options_.max_queue_delay_ms == 0) {
      run_alone(taken);
    } else {
      const bool nothing_taken = taken.empty();
      while (!taken.empty()) push(taken);
      see_to_what_waits(more_wait, more_wait && nothing_taken);
    }
  }

  ImageOptions options_of(const UnderWay& one) const {
    ImageOptions options;
    options.stop = one.job.rule.stop_after(ms_between(one.job.arrived, Clock::now()), by_default_);
    options.cancellation = one.job.cancellation;
    return options;
  }

  void run_alone(Jobs& taken) {
    {
      const std::lock_guard lock(mutex_);
      ++stats_.alone;
    }
    const UnderWay& one = taken.front();
    Answer answer;
    try {
      const ImageOptions options = options_of(one);
      answer = session_.classify(std::span(&one.job.image, 1), std::span(&options, 1)).front();
    } catch (const UsageError& error) {
      answer.error = error.what();
    } catch (const std::exception&) {
      return fail(taken);
    }
    finish(take_out(taken, taken.begin()), std::move(answer));
  }

  /// Passes the first image to the session, which answers it through finish(id, answer).
  void push(Jobs& taken) {
    const auto one = taken.begin();
    Answer refusal;
    try {
      const ImageOptions options = options_of(*one);
      const auto id = reinterpret_cast<std::int64_t>(&*one);
      const ImageView image = one->job.image;
      {
        const std::lock_guard lock(mutex_);
        under_way_.splice(under_way_.end(), taken, one);
      }
      session_.push(id, image, options);
      return;
    } catch (const UsageError& error) {  // then the session has not taken it
      refusal.error = error.what();
    } catch (const std::exception&) {
      // The session answers all that it had with an error. It may not have had this one.
      is_in_doubt_ = true;
      return;
    }
    Jobs refused;
    {
      const std::lock_guard lock(mutex_);
      refused.splice(refused.end(), under_way_, one);
    }
    finish(std::move(refused), std::move(refusal));
  }

  /// After an exception: answers what the session should have answered and does not know of.
  void answer_the_forgotten() {
    for (int attempt = 1; attempt <= 3 && is_in_doubt_; ++attempt) {
      try {
        session_.flush();  // afterwards no thread is about to answer
        is_in_doubt_ = session_.pending() > 0;
      } catch (const std::exception&) {
        // What it had gets its error from the next call.
      }
    }
    if (is_in_doubt_) return;
    Jobs forgotten;
    {
      const std::lock_guard lock(mutex_);
      forgotten.swap(under_way_);
    }
    while (!forgotten.empty()) fail(forgotten);
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
      is_in_doubt_ = true;  // as in push()
    }
  }

  bool closing() const {
    const std::lock_guard lock(mutex_);
    return closing_;
  }

  static Answer cancelled() {
    Answer answer;
    answer.error = "the image was cancelled";
    answer.cancelled = true;
    return answer;
  }

  static Jobs take_out(Jobs& from, Jobs::iterator one) {
    Jobs alone;
    alone.splice(alone.end(), from, one);
    return alone;
  }

  /// Answers the first image with a failure.
  void fail(Jobs& jobs) {
    Answer answer;
    answer.error = "failed";
    answer.failed = true;
    finish(take_out(jobs, jobs.begin()), std::move(answer));
  }

  /// Called by the session, from any thread.
  void finish(std::int64_t id, Answer answer) {
    Jobs one;
    {
      const std::lock_guard lock(mutex_);
      one.splice(one.end(), under_way_, reinterpret_cast<UnderWay*>(id)->self);
    }
    finish(std::move(one), std::move(answer));
  }

  /// @param one  a list of one image, which nobody else knows of
  void finish(Jobs one, Answer answer) {
    const UnderWay& image = one.front();
    ImageResult result;
    result.kind = answer.ok()        ? ImageResult::Kind::answered
                  : answer.cancelled ? ImageResult::Kind::cancelled
                  : answer.failed    ? ImageResult::Kind::failed
                                     : ImageResult::Kind::refused;
    result.queue_ms = ms_between(image.job.arrived, image.taken);
    result.total_ms = ms_between(image.job.arrived, Clock::now());
    // Why is no matter of the client's.
    if (result.kind == ImageResult::Kind::failed) answer.error = "the network could not be run";
    {
      const std::lock_guard lock(mutex_);
      --pending_;
      count(answer, result);
    }
    result.answer = std::move(answer);
    image.job.done(std::move(result));
  }

  /// REQUIRES: mutex_ is held.
  void count(const Answer& answer, const ImageResult& result) {
    switch (result.kind) {
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
  bool is_in_doubt_ = false;    // the session threw: it may not know all of under_way_

  mutable std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::array<Jobs, kPriorities> queues_;
  Jobs under_way_;  // the session has them
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
