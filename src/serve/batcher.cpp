#include "serve/batcher.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <list>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "serve/decoder.h"
#include "serve/service_time.h"

namespace offramp::serve {
namespace {

using Clock = std::chrono::steady_clock;
using AuditResult = Watch::AuditResult;

constexpr std::size_t kPriorities = 10;
// While new images keep arriving, the images that wait at later exits may never fill a batch. They
// wait at most this long.
constexpr double kLongestWaitMs = 250;
constexpr std::chrono::milliseconds kStatsAge{250};
// Audits run when no image waits for its answer. Audits beyond this number run without waiting.
constexpr std::size_t kAuditsThatWait = 64;
// The largest number of waiting audits; further ones are dropped. When so many results wait for
// those of earlier images, audits no longer wait.
constexpr std::size_t kMaxAudits = 4096;

double ms_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

/// The place of an audited image in the order in which the watch gets the results.
struct AuditTurn {
  bool is_known = false;
  std::optional<AuditResult> result = {};  ///< no value: the image got no answer
  int generation = 0;                      ///< Watch::generation() of its rule
};

/// An image between the queue and its answer. The session identifies it by its address. It moves
/// from list to list without being copied, so no memory is needed after submit().
struct UnderWay {
  ImageJob job;
  Clock::time_point taken = {};
  std::list<UnderWay>::iterator self = {};
  bool follows_policy = false;  ///< whether the rule that the watch has set stops the image
  bool to_audit = false;        ///< whether the watch has chosen the image for an audit
  bool is_audit = false;  ///< whether the image has its answer and runs again, to the last exit
  /// An audited image's place among the results until it is taken from the queue.
  std::list<AuditTurn> unused_turn = {};
  std::list<AuditTurn>::iterator turn = {};
  int generation = 0;   ///< Watch::generation() of its rule
  int class_index = 0;  ///< the class that the image got in its answer, for an audit
};
using Jobs = std::list<UnderWay>;

}  // namespace

class Batcher::State {
 public:
  State(const Model& model, const BatcherOptions& options)
      : options_(options),
        num_exits_(model.num_exits()),
        session_(model, {.probabilities = true, .max_pixels = options.max_pixels}),
        // With this many images every thread has a batch to run, although fewer than a batch wait
        // at each exit.
        most_under_way_((1L + model.num_exits()) * model.batch() * model.threads()),
        // The constructor of `watch_` calls guarantee(), which runs the images that the file
        // stores.
        watch_(model, model.guarantee(), options.watch,
               options.audit_seed ? *options.audit_seed : random_seed()) {
    stats_.exits.resize(static_cast<std::size_t>(model.num_exits()));
    stats_.session = session_.stats();
    stats_.guarantee = session_.guarantee();
    StreamOptions stream;
    stream.from_any_thread = true;
    stream.images_stay = true;
    stream.most_pending = 2 * most_under_way_;
    stream.flush_after_ms =
        options.max_queue_delay_ms > 0 ? options.max_queue_delay_ms : kLongestWaitMs;
    session_.stream([this](std::int64_t id, const Answer& answer) { finish(id, answer); }, stream);
    decoder_ = std::make_unique<Decoder>(model, options.max_pixels);
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
    decoder_.reset();
  }

  Admission submit(std::vector<ImageJob> jobs) {
    const auto count = static_cast<std::int64_t>(jobs.size());
    if (count > options_.max_queue) return Admission::too_many;
    Jobs fresh;
    std::list<DecodeTask> tasks;
    for (ImageJob& job : jobs) {
      UnderWay& one = fresh.emplace_back(UnderWay{.job = std::move(job)});
      one.self = std::prev(fresh.end());
      ImageRule& rule = one.job.rule;
      if (rule.stop == Stop::by_policy()) rule.stop.reset();
      one.follows_policy = !rule.stop;
      one.to_audit = one.follows_policy && !rule.deadline_ms && watch_.toss();
      if (one.to_audit) one.turn = one.unused_turn.emplace(one.unused_turn.end());
      // An audited image is always copied, because its request may have ended when it runs again.
      if (one.job.is_to_decode || one.to_audit) tasks.push_back(decode_task(one));
    }
    {
      const std::lock_guard lock(mutex_);
      if (waiting_ + decoding_ + count > options_.max_queue || would_wait_too_long())
        return Admission::queue_full;
      if (pending_ == 0) service_time_.begin_busy(Clock::now());
      while (!fresh.empty()) {
        if (fresh.front().job.is_to_decode || fresh.front().to_audit) {
          in_decoder_.splice(in_decoder_.end(), fresh, fresh.begin());
          ++decoding_;
        } else {
          enqueue(fresh);
        }
      }
      pending_ += count;
    }
    changed_.notify_one();
    if (!tasks.empty()) decoder_->submit(std::move(tasks));
    return Admission::admitted;
  }

  bool is_full() const {
    const std::lock_guard lock(mutex_);
    return waiting_ + decoding_ >= options_.max_queue || would_wait_too_long();
  }

  std::int64_t waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_ + decoding_;
  }
  std::int64_t pending() const {
    const std::lock_guard lock(mutex_);
    return pending_;
  }
  BatcherStats stats() const {
    const std::lock_guard lock(mutex_);
    BatcherStats stats = stats_;
    stats.watch = watch_.stats();
    return stats;
  }

 private:
  static std::uint64_t random_seed() {
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
  }

  /// REQUIRES: mutex_ is held.
  bool would_wait_too_long() const {
    return options_.max_wait_ms > 0 &&
           static_cast<double>(pending_) * service_time_.ms_per_image() > options_.max_wait_ms;
  }

  /// Moves the first job to its queue. REQUIRES: mutex_ is held.
  void enqueue(Jobs& from) {
    Jobs& queue = queues_[static_cast<std::size_t>(from.front().job.rule.priority)];
    queue.splice(queue.end(), from, from.begin());
    ++waiting_;
  }

  DecodeTask decode_task(UnderWay& one) {
    DecodeTask task;
    task.image = one.job.image;
    task.owner = one.job.owner;
    task.cancellation = one.job.cancellation;
    task.budget = one.job.budget;
    task.done = [this, &one](DecodeTask& done) { leave_decoder(one, done); };
    return task;
  }

  /// Called by the decoder, from any of its threads.
  void leave_decoder(UnderWay& one, DecodeTask& task) {
    using Outcome = DecodeTask::Outcome;
    Jobs alone;
    bool alarm = false;
    {
      const std::lock_guard lock(mutex_);
      alone.splice(alone.end(), in_decoder_, one.self);
      --decoding_;
      if (task.outcome == Outcome::decoded) {
        one.job.image = ImageView::normalised(task.input->values);
        one.job.owner = std::move(task.input);
        enqueue(alone);
      } else if (one.to_audit && !one.job.is_to_decode && task.outcome != Outcome::refused) {
        // There is no memory for a copy of the image; the image itself needs none.
        one.to_audit = false;
        take_turn(one);
        one.generation = watch_.generation();
        alarm = end_turn(one, AuditResult::dropped);
        enqueue(alone);
      } else {
        one.taken = Clock::now();
      }
    }
    if (alarm) report_alarm();
    if (!alone.empty()) {
      Answer answer = task.cancellation.is_cancelled() ? cancelled() : Answer{};
      if (!answer.cancelled && task.outcome == Outcome::refused)
        answer.error = std::move(task.error);
      answer.failed = task.outcome == Outcome::failed;
      finish(std::move(alone), std::move(answer), task.outcome == Outcome::no_room);
    }
    changed_.notify_one();
  }

  void serve() {
    for (;;) {
      Jobs taken;
      try {
        if (!serve_once(taken)) break;
      } catch (const std::exception&) {  // most likely out of memory
        may_have_lost_images_ = true;
        while (!taken.empty()) fail(taken);
      }
      if (may_have_lost_images_) fail_lost_images();
    }
    if (may_have_lost_images_) fail_lost_images();
  }

  /// @param taken  receives the images taken from the queue that the session does not have yet
  /// @return false once everything is answered and the batcher is closing
  bool serve_once(Jobs& taken) {
    bool more_wait = false;
    {
      std::unique_lock lock(mutex_);
      const auto has_work = [&] {
        return waiting_ > 0 || (closing_ ? decoding_ == 0 : !audits_.empty());
      };
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
      if (closing_ && waiting_ == 0 && decoding_ == 0 && pending == 0) return false;
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
    const auto is_full = [&] { return static_cast<std::int64_t>(taken.size()) >= most; };
    while ((audits_.size() > kAuditsThatWait || results_that_wait_ > kMaxAudits) &&
           !audits_.empty() && !is_full())
      taken.splice(taken.end(), audits_, audits_.begin());
    for (Jobs& queue : queues_)
      while (!queue.empty() && !is_full()) {
        queue.front().taken = now;
        take_turn(queue.front());
        taken.splice(taken.end(), queue, queue.begin());
        --waiting_;
      }
    while (!closing_ && !audits_.empty() && !is_full())
      taken.splice(taken.end(), audits_, audits_.begin());
    if (!taken.empty()) ++stats_.groups;
  }

  void run(Jobs& taken, bool more_wait) {
    for (auto next = taken.begin(); next != taken.end();) {
      const auto one = next++;
      if (!one->is_audit && one->job.cancellation.is_cancelled())
        finish(take_out(taken, one), cancelled());
    }
    if (taken.size() == 1 && !more_wait && session_.pending() == 0 &&
        options_.max_queue_delay_ms == 0) {
      run_alone(taken);
    } else {
      const bool nothing_taken = taken.empty();
      while (!taken.empty()) push(taken);
      continue_waiting_images(more_wait, more_wait && nothing_taken);
    }
  }

  ImageOptions options_of(UnderWay& one) const {
    ImageOptions options;
    if (one.is_audit) {
      options.stop = watch_.audit_stop();
      return options;
    }
    ImageRule rule = one.job.rule;
    if (one.follows_policy) {
      const std::lock_guard lock(mutex_);
      rule.stop = watch_.stop();
      one.generation = watch_.generation();
    }
    options.stop = rule.stop_after(ms_between(one.job.arrived, Clock::now()), Stop::never());
    options.cancellation = one.job.cancellation;
    return options;
  }

  void run_alone(Jobs& taken) {
    UnderWay& one = taken.front();
    if (!one.is_audit) {
      const std::lock_guard lock(mutex_);
      ++stats_.alone;
    }
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
    } catch (const UsageError& error) {  // the session has not accepted the image
      refusal.error = error.what();
    } catch (const std::exception&) {
      // The session answers all of its images with an error. It may not have accepted this one.
      may_have_lost_images_ = true;
      return;
    }
    Jobs refused;
    {
      const std::lock_guard lock(mutex_);
      refused.splice(refused.end(), under_way_, one);
    }
    finish(std::move(refused), std::move(refusal));
  }

  /// After an exception: answers the images that the session has lost.
  void fail_lost_images() {
    for (int attempt = 1; attempt <= 3 && may_have_lost_images_; ++attempt) {
      try {
        session_.flush();  // afterwards no thread is about to deliver an answer
        may_have_lost_images_ = session_.pending() > 0;
      } catch (const std::exception&) {
        // The next call delivers the error for the images that the session has.
      }
    }
    if (may_have_lost_images_) return;
    Jobs lost;
    {
      const std::lock_guard lock(mutex_);
      lost.swap(under_way_);
    }
    while (!lost.empty()) fail(lost);
  }

  void continue_waiting_images(bool more_wait, bool nothing_taken) {
    try {
      session_.poll();
      // A new image can be accepted only when others have left.
      if (nothing_taken) session_.flush();
      if (!more_wait && options_.max_queue_delay_ms == 0 && session_.pending() > 0) {
        {
          const std::lock_guard lock(mutex_);
          if (waiting_ > 0) return;  // the new images and the waiting ones share the next batches
        }
        session_.flush();
      }
      if (closing()) session_.flush();
    } catch (const std::exception&) {
      may_have_lost_images_ = true;  // for the same reason as in push()
    }
  }

  bool closing() const {
    const std::lock_guard lock(mutex_);
    return closing_;
  }

  static Answer cancelled() {
    Answer answer;
    answer.error = "cancelled";
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
      // The id is the address of the element.
      // NOLINTNEXTLINE(performance-no-int-to-ptr)
      one.splice(one.end(), under_way_, reinterpret_cast<UnderWay*>(id)->self);
    }
    finish(std::move(one), std::move(answer));
  }

  /// @param one  a list with one image, which is in no other list
  /// @param no_room  whether there was no memory to decode the image
  void finish(Jobs one, Answer answer, bool no_room = false) {
    UnderWay& image = one.front();
    if (image.is_audit) return finish_audit(image, answer);
    ImageResult result;
    result.kind = no_room            ? ImageResult::Kind::no_room
                  : answer.cancelled ? ImageResult::Kind::cancelled
                  : answer.failed    ? ImageResult::Kind::failed
                  : answer.ok()      ? ImageResult::Kind::answered
                                     : ImageResult::Kind::refused;
    result.queue_ms = ms_between(image.job.arrived, image.taken);
    result.total_ms = ms_between(image.job.arrived, Clock::now());
    // The client is not told the reason, which is not its fault.
    if (result.kind == ImageResult::Kind::failed) set_error(answer, "the network could not be run");
    if (no_room) set_error(answer, "there is no room to decode the image; try again later");
    // The audit of the image may begin and end before its answer is delivered, which destroys the
    // image.
    const std::function<void(ImageResult)> done = std::move(image.job.done);
    bool alarm = false;
    {
      const std::lock_guard lock(mutex_);
      --pending_;
      const auto now = Clock::now();
      service_time_.add_image(now, result.kind == ImageResult::Kind::answered ||
                                       result.kind == ImageResult::Kind::failed);
      if (pending_ == 0) service_time_.end_busy(now);
      count(answer, result);
      if (image.to_audit && answer.ok())
        alarm = begin_audit(one, answer);
      else if (image.to_audit && image.unused_turn.empty())
        alarm = end_turn(image, std::nullopt);
    }
    result.answer = std::move(answer);
    done(std::move(result));
    if (one.empty()) changed_.notify_one();
    if (alarm) report_alarm();
  }

  /// Gives an audited image its place in the order of the results, before its answer is known. If
  /// results were counted as they arrive, agreements, which need no audit, would come before the
  /// disagreements of the same period. Disagreements would then come in groups, with a rate above
  /// that of the images. REQUIRES: mutex_ is held.
  void take_turn(UnderWay& image) { turns_.splice(turns_.end(), image.unused_turn); }

  /// Passes all results to the watch for which every earlier result is known.
  /// @param result  of this image; nullopt: it got no answer
  /// REQUIRES: mutex_ is held. @return whether there is an alarm
  bool end_turn(const UnderWay& image, std::optional<AuditResult> result) {
    *image.turn = {.is_known = true, .result = result, .generation = image.generation};
    ++results_that_wait_;
    bool alarm = false;
    for (; !turns_.empty() && turns_.front().is_known; turns_.pop_front(), --results_that_wait_)
      if (turns_.front().result && watch_.add(*turns_.front().result, turns_.front().generation))
        alarm = true;
    return alarm;
  }

  /// REQUIRES: mutex_ is held. @return whether there is an alarm
  bool begin_audit(Jobs& one, const Answer& answer) {
    UnderWay& image = one.front();
    if (answer.exit == num_exits_ && watch_.last_exit_agrees())
      return end_turn(image, AuditResult::agrees);
    if (audits_.size() >= kMaxAudits) return end_turn(image, AuditResult::dropped);
    image.is_audit = true;
    image.class_index = answer.class_index;
    audits_.splice(audits_.end(), one);
    return false;
  }

  void finish_audit(const UnderWay& image, const Answer& answer) {
    bool alarm = false;
    {
      const std::lock_guard lock(mutex_);
      alarm = end_turn(image, !answer.ok()                              ? AuditResult::dropped
                              : answer.class_index != image.class_index ? AuditResult::disagrees
                                                                        : AuditResult::agrees);
    }
    if (alarm) report_alarm();
  }

  void report_alarm() const noexcept {
    try {
      if (options_.on_alarm) options_.on_alarm(stats().watch);
    } catch (const std::exception&) {
      // Out of memory; the statistics show the alarm.
    }
  }

  static void set_error(Answer& answer, const char* error) noexcept {
    try {
      answer.error = error;
    } catch (const std::exception&) {
      answer.error = "failed";  // so short that it needs no memory allocation
    }
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
      case ImageResult::Kind::no_room:
        ++stats_.no_room;
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
  const int num_exits_;
  Session session_;  // used by thread_ only, except in its callback
  const std::int64_t most_under_way_;
  Clock::time_point stats_kept_;
  bool stats_are_old_ = false;  // whether images were answered since the statistics were copied
  // Whether the session threw, so that it may have lost images of under_way_.
  bool may_have_lost_images_ = false;

  mutable std::mutex mutex_;  // guards the members below
  Watch watch_;
  std::condition_variable changed_;
  std::array<Jobs, kPriorities> queues_;
  Jobs in_decoder_;
  Jobs audits_;                 // images that wait for their audit
  Jobs under_way_;              // images that the session has
  std::list<AuditTurn> turns_;  // places of audited images, in the order in which they were taken
  std::size_t results_that_wait_ = 0;  // number of results in turns_ that are known
  std::int64_t waiting_ = 0, decoding_ = 0, pending_ = 0;
  ServiceTime service_time_;
  bool closing_ = false;
  BatcherStats stats_;

  std::unique_ptr<Decoder> decoder_;  // its threads use the members above
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
bool Batcher::is_full() const { return state_->is_full(); }
std::int64_t Batcher::waiting() const { return state_->waiting(); }
std::int64_t Batcher::pending() const { return state_->pending(); }
BatcherStats Batcher::stats() const { return state_->stats(); }

}  // namespace offramp::serve
