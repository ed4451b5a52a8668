#include "offramp/session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <list>
#include <mutex>
#include <utility>

#include "api/input_loader.h"
#include "api/model_state.h"
#include "api/statistics.h"
#include "api/stop_decision.h"
#include "core/error.h"
#include "core/parallel.h"
#include "engine/runner.h"
#include "image/image.h"
#include "runtime/exit_time_estimator.h"
#include "runtime/single_image_run.h"

namespace offramp {
namespace {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

constexpr int kWarmUpRuns = 6;
constexpr std::size_t kMaxStoredDecisions = 8;  // largest number of stored decisions, for reuse
constexpr const char* kNotFinite = "the network's logits for this image are not finite";
constexpr const char* kCancelled = "the image was cancelled";

bool are_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

double seconds_between(TimePoint begin, TimePoint end) {
  return std::chrono::duration<double>(end - begin).count();
}

TimePoint after(TimePoint start, double seconds) {
  // A very long deadline would overflow the clock's integer type, so it is cut to a day.
  return start + std::chrono::duration_cast<Clock::duration>(
                     std::chrono::duration<double>(std::min(seconds, 86400.0)));
}

std::int64_t checked_max_pixels(std::int64_t pixels) {
  constexpr std::int64_t kMost = image::DecodeLimits{}.max_pixels;
  if (pixels < 1 || pixels > kMost)
    throw UsageError(fmt::format("max_pixels: got {}, expected 1 to {}", pixels, kMost));
  return pixels;
}

}  // namespace

class [[gnu::visibility("hidden")]] Session::State {
 public:
  State(std::shared_ptr<engine::OpenedModel> model, const SessionOptions& options)
      : model_(std::move(model)),
        loader_(model_->file().graph.input, model_->file().preprocessing,
                checked_max_pixels(options.max_pixels)),
        probabilities_(options.probabilities),
        pixels_(static_cast<std::size_t>(model_->image_size())),
        statistics_(*model_),
        single_image_times_(model_->num_exits()),
        batch_times_(model_->num_exits()),
        runner_(model_) {
    const Stop by_default = model_->file().policy ? Stop::by_policy() : Stop::never();
    rule_ = rule_of(options.stop.value_or(by_default));
  }

  Answer classify(const ImageView& image, const ImageOptions& options) {
    const Rule rule = rule_for(options);
    const auto start = Clock::now();
    loader_.load(image, pixels_);
    Answer answer = run_single_image(start, rule, options);
    if (!answer.ok()) throw Error(fmt::format("{}", answer.error));
    return answer;
  }

  std::vector<Answer> classify(std::span<const ImageView> images,
                               std::span<const ImageOptions> options) {
    if (!options.empty() && options.size() != images.size())
      throw UsageError(fmt::format("classify: {} options for {} images: expected one each, or none",
                                   options.size(), images.size()));
    const ImageOptions none;
    const auto options_of = [&](std::size_t i) -> const ImageOptions& {
      return options.empty() ? none : options[i];
    };
    // Rules are made first, so that invalid options are refused before any image runs.
    std::vector<Rule> rules;
    for (const ImageOptions& one : options) rules.push_back(rule_for(one));
    const auto rule_at = [&](std::size_t i) -> const Rule& {
      return rules.empty() ? rule_ : rules[i];
    };
    const auto start = Clock::now();
    std::vector<Answer> answers(images.size());
    if (images.size() == 1) {
      if (try_load(images[0], pixels_, answers[0]))
        answers[0] = run_single_image(start, rule_at(0), options_of(0));
      return answers;
    }
    if (images.empty()) return answers;
    prepare_runner();
    run([&] {
      for (std::size_t i = 0; i < images.size(); ++i) {
        const std::optional<Cancellation>& cancellation = options_of(i).cancellation;
        // If a large batch is cancelled, its remaining images are answered at once.
        if (cancellation && cancellation->is_cancelled()) {
          answers[i] = refused(kCancelled);
          continue;
        }
        Slot& slot = take_slot(of_batch_, rule_at(i), options_of(i), start);
        slot.view = &images[i];
        slot.result = &answers[i];
        runner_.push(id_of(slot));
      }
      runner_.flush();
    });
    return answers;
  }

  std::vector<float> all_exits(std::span<const ImageView> images) {
    constexpr std::size_t kChunk = 256;
    const auto classes = static_cast<std::size_t>(model_->num_classes());
    const auto exits = static_cast<std::size_t>(model_->num_exits());
    const std::size_t size = pixels_.size();
    std::vector<float> logits(exits * images.size() * classes);
    std::vector<float> inputs(std::min(kChunk, images.size()) * size);
    for (std::size_t first = 0; first < images.size(); first += kChunk) {
      const std::size_t count = std::min(kChunk, images.size() - first);
      const auto load = [&](std::size_t i) {
        try {
          loader_.load(images[first + i], std::span(inputs).subspan(i * size, size));
        } catch (const Error& error) {
          throw Error(fmt::format("image {}: {}", first + i, error.what()));
        }
      };
      core::parallel_for(count, load, model_->threads());
      model_->run(std::span(inputs).first(count * size), [&](std::int64_t image,
                                                             const core::ExitOutput& output) {
        const std::size_t row = static_cast<std::size_t>(output.exit_index) * images.size() +
                                first + static_cast<std::size_t>(image);
        std::ranges::copy(output.logits, logits.data() + row * classes);
        return false;
      });
    }
    return logits;
  }

  void stream(OnAnswer on_answer, const StreamOptions& options) {
    if (!on_answer)
      throw UsageError("stream: on_answer is empty, expected a function that receives the answers");
    if (!(options.flush_after_ms >= 0))
      throw UsageError(fmt::format("stream: expected flush_after_ms of at least 0, got {}",
                                   options.flush_after_ms));
    if (options.most_pending < 1)
      throw UsageError(
          fmt::format("stream: expected most_pending of at least 1, got {}", options.most_pending));
    if (options.in_order && options.from_any_thread)
      throw UsageError(
          "stream: answers from any thread have no order: choose one of in_order and "
          "from_any_thread");
    if (pending() > 0)
      throw UsageError(
          fmt::format("stream: {} images have no answer yet; call flush() first", pending()));
    prepare_runner();
    run_waiting();  // afterwards no thread calls on_ready for an answer of an earlier stream
    on_answer_ = std::move(on_answer);
    stream_options_ = options;
  }

  void push(std::int64_t id, const ImageView& image, const ImageOptions& options) {
    if (!on_answer_) throw UsageError("push: no stream was begun; call stream() first");
    const Rule rule = rule_for(options);
    run([&] {
      Slot& slot = take_slot(of_stream_, rule, options, Clock::now());
      slot.id = id;
      // Decoding and resizing are left to the thread that runs the image, unless it is this thread.
      if (loader_.is_quick(image) || model_->streams() == 1) {
        slot.pixels = take_pixels();
        if (!try_load(image, *slot.pixels, slot.answer)) {
          finish(slot);
          return;
        }
      } else {
        if (stream_options_.images_stay) {
          slot.image = image;
          slot.view = &slot.image;
        } else {
          slot.image_copy = take_image_copy();
          slot.image_copy->assign(image);
          slot.view = &slot.image_copy->view();
        }
      }
      runner_.push(id_of(slot));
    });
    deliver_answers();
    if (pending() >= stream_options_.most_pending) run_waiting();
    poll();
  }

  void poll() {
    if (answer_due_images()) run_waiting();
    deliver_answers();
  }

  void flush() {
    run_waiting();
    deliver_answers();
  }

  std::optional<TimePoint> next_due() const {
    const std::lock_guard lock(mutex_);
    if (next_ready() != nullptr) return Clock::now();
    const auto waits = std::ranges::find(of_stream_, false, &Slot::done);
    if (waits == of_stream_.end()) return std::nullopt;
    TimePoint due = TimePoint::max();
    const double most = stream_options_.flush_after_ms / 1e3;
    if (most > 0) due = after(waits->since, most);
    for (const Slot& slot : of_stream_) {
      if (slot.done || slot.deadline == TimePoint::max()) continue;
      // An image that a thread is deciding about is checked again shortly afterwards.
      due = std::min(
          due, slot.being_decided ? Clock::now() + std::chrono::milliseconds(1) : due_at(slot));
    }
    if (due == TimePoint::max()) return std::nullopt;
    return due;
  }

  std::int64_t pending() const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::int64_t>(of_stream_.size() + finished_.size());
  }

  Stats stats() const {
    const std::lock_guard lock(mutex_);
    return statistics_.stats(rule_.is_by_policy_alone());
  }

  void reset_stats() {
    const std::lock_guard lock(mutex_);
    statistics_.reset();
  }

  std::optional<Guarantee> guarantee() const { return guarantee(model_->certificate().status()); }
  std::optional<Guarantee> guarantee_so_far() const {
    return guarantee(model_->certificate().so_far());
  }

 private:
  std::optional<Guarantee> guarantee(engine::CertificateStatus status) const {
    if (!rule_.is_by_policy_alone()) {
      if (status.in_force != InForce::no)
        status = {InForce::no,
                  "images are stopped by another rule than the model's policy alone, which is what "
                  "was certified"};
      return api::guarantee_of(*model_, status);
    }
    const std::lock_guard lock(mutex_);
    return api::guarantee_of(
        *model_, engine::with_drift(status, statistics_.drift(), statistics_.recent_images()));
  }

  using Decision = std::shared_ptr<const api::StopDecision>;
  using Pixels = std::unique_ptr<std::vector<float>>;
  using ImageCopy = std::unique_ptr<api::InputLoader::ImageCopy>;

  /// A Stop that was checked for the model: the decision at each exit, and the deadline.
  struct Rule {
    Decision decision;
    std::optional<double> milliseconds;
    /// Whether the model's policy alone stops the image. Only then does its certificate apply.
    bool is_by_policy_alone() const { return decision->is_by_policy_alone() && !milliseconds; }
  };

  /// An image of a batch or of the stream. Its address is its number in the runner.
  struct Slot {
    std::list<Slot>::iterator self;
    std::int64_t id = 0;  ///< the identifier that the caller passed with the image
    TimePoint since;
    TimePoint deadline = TimePoint::max();
    Rule rule;
    std::optional<Cancellation> cancellation;
    const ImageView* view = nullptr;  ///< the image to load; null if `pixels` hold it already
    ImageView image;  ///< what `view` points to if the caller keeps the image's memory
    ImageCopy image_copy;
    Pixels pixels;
    int exits_reached = 0;
    TimePoint latest_exit_time;  ///< when it began or reached its latest exit; for deadlines only
    policy::ExitState exit_state;
    Answer answer;
    Answer* result = nullptr;  ///< where the answer of an image of a batch goes; null for a stream
    bool done = false;         ///< whether it has its answer
    bool in_runner = false;    ///< whether the runner still holds its address
    bool being_decided = false;  ///< whether a thread is loading it or deciding about it
  };
  using Slots = std::list<Slot>;

  static std::int64_t id_of(Slot & slot) { return reinterpret_cast<std::int64_t>(&slot); }
  // The runner only carries an id; it is the address that id_of() took.
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  static Slot& slot_of(std::int64_t id) { return *reinterpret_cast<Slot*>(id); }

  int num_exits() const { return model_->num_exits(); }

  /// @throws UsageError if the rule is invalid for the model
  Rule rule_of(const Stop& stop) {
    const std::optional<double> milliseconds = api::StopDecision::milliseconds(stop);
    if (milliseconds) measure_exit_times();
    const Stop untimed = api::StopDecision::without_deadline(stop);
    for (const Decision& decision : decisions_)
      if (decision->stop() == untimed) return {decision, milliseconds};
    auto decision = std::make_shared<const api::StopDecision>(untimed, *model_);
    if (decisions_.size() == kMaxStoredDecisions) decisions_.erase(decisions_.begin());
    decisions_.push_back(decision);
    return {std::move(decision), milliseconds};
  }

  Rule rule_for(const ImageOptions& options) {
    return options.stop ? rule_of(*options.stop) : rule_;
  }

  bool try_load(const ImageView& image, std::span<float> pixels, Answer& answer) const {
    try {
      loader_.load(image, pixels);
      return true;
    } catch (const Error& error) {
      answer = refused(error.what());
    } catch (const std::exception& error) {  // for example std::bad_alloc
      answer = failed(error.what());
    }
    return false;
  }

  static Answer refused(const char* why) {
    Answer answer;
    answer.error = why;
    answer.cancelled = why == kCancelled;
    answer.failed = why == kNotFinite;
    return answer;
  }
  static Answer failed(const char* why) {
    Answer answer = refused(why);
    answer.failed = true;
    return answer;
  }

  /// REQUIRES: mutex_ is held if other threads may make answers at the same time.
  Answer answered(const policy::ExitState& exit_state, int exit_index, bool limited,
                  const Rule& rule) {
    Answer answer;
    answer.class_index = exit_state.answer;
    answer.class_name = model_->file().classes[static_cast<std::size_t>(exit_state.answer)];
    answer.probability = exit_state.p[static_cast<std::size_t>(exit_state.answer)];
    if (probabilities_) answer.probabilities = exit_state.p;
    answer.exit = exit_index + 1;
    answer.macs = model_->cost().exit_macs[static_cast<std::size_t>(exit_index)];
    answer.relative_cost = model_->relative_costs()[static_cast<std::size_t>(exit_index)];
    answer.limited = limited;
    statistics_.add(exit_index, answer.macs, rule.is_by_policy_alone());
    return answer;
  }

  // Functions for a single image.

  /// Runs the image in pixels_ and returns its answer.
  /// @param start  the time from which the deadline counts
  Answer run_single_image(TimePoint start, const Rule& rule, const ImageOptions& options) {
    runtime::SingleImageRun& image_run = runner_.one();
    image_run.begin(pixels_);
    const api::StopDecision& decision = *rule.decision;
    const bool timed = rule.milliseconds.has_value();
    const double budget = rule.milliseconds.value_or(0) / 1e3;
    auto before = timed ? Clock::now() : start;
    bool limited = false;
    for (int next = 0;; ++next) {
      if (options.cancellation && options.cancellation->is_cancelled()) return refused(kCancelled);
      if (timed && next > 0 && !single_image_fits(next, budget - seconds_between(start, before))) {
        limited = true;
        break;
      }
      const std::span<const float> logits = image_run.advance();
      if (!are_finite(logits)) return refused(kNotFinite);
      const bool leaves = decision.leaves({next, logits}, exit_state_);
      if (timed) {
        const auto now = Clock::now();
        add_single_image_time(next, seconds_between(before, now));
        before = now;
      }
      if (leaves) {
        limited = decision.is_limited_at(next, exit_state_);
        break;
      }
    }
    const std::lock_guard lock(mutex_);
    return answered(exit_state_, image_run.exit_index(), limited, rule);
  }

  /// Runs the network a few times to measure the times of its exits, so that the first deadline can
  /// be met.
  void measure_exit_times() {
    if (has_measured_) return;
    has_measured_ = true;
    runtime::SingleImageRun& image_run = runner_.one();
    const api::StopDecision never(Stop::never(), *model_);
    for (int run = 0; run <= kWarmUpRuns; ++run) {
      image_run.begin(pixels_);
      for (int k = 0; k < num_exits(); ++k) {
        const auto before = Clock::now();
        never.leaves({k, image_run.advance()}, exit_state_);
        if (run > 0) add_single_image_time(k, seconds_between(before, Clock::now()));
      }
    }
  }

  bool single_image_fits(int exit_index, double seconds) {
    const std::lock_guard lock(mutex_);
    return single_image_times_.fits(exit_index, seconds);
  }
  void add_single_image_time(int exit_index, double seconds) {
    const std::lock_guard lock(mutex_);
    single_image_times_.add(exit_index, seconds);
  }

  // Functions for batches and streams. The model's threads call load() and decide().

  void prepare_runner() {
    if (is_prepared_) return;
    runner_.begin(
        [this](std::int64_t id, std::span<float> pixels) { return load(id, pixels); },
        [this](std::int64_t id, const core::ExitOutput& output) { return decide(id, output); });
    is_prepared_ = true;
  }

  bool load(std::int64_t id, std::span<float> pixels) {
    Slot& slot = slot_of(id);
    {
      const std::lock_guard lock(mutex_);
      if (release_if_done(slot)) return false;
      slot.being_decided = true;
    }
    bool loaded = true;
    if (is_cancelled(slot)) {
      slot.answer = refused(kCancelled);
      loaded = false;
    } else if (slot.pixels) {
      std::ranges::copy(*slot.pixels, pixels.begin());
    } else {
      loaded = try_load(*slot.view, pixels, slot.answer);
    }
    std::unique_lock lock(mutex_);
    slot.being_decided = false;
    recycle_buffers(slot);
    if (slot.deadline != TimePoint::max()) slot.latest_exit_time = Clock::now();
    if (!loaded) finish(slot, lock);
    return loaded;
  }

  bool decide(std::int64_t id, const core::ExitOutput& output) {
    Slot& slot = slot_of(id);
    if (slot.deadline != TimePoint::max()) {  // poll() may have answered the image already
      const std::lock_guard lock(mutex_);
      if (release_if_done(slot)) return true;
      slot.being_decided = true;
    }
    const char* problem = is_cancelled(slot)           ? kCancelled
                          : !are_finite(output.logits) ? kNotFinite
                                                       : nullptr;
    const api::StopDecision& decision = *slot.rule.decision;
    const bool leaves = problem != nullptr || decision.leaves(output, slot.exit_state);
    const int k = output.exit_index;
    std::unique_lock lock(mutex_);
    slot.being_decided = false;
    slot.exits_reached = k + 1;
    if (slot.deadline != TimePoint::max()) {
      const auto now = Clock::now();
      const double seconds = seconds_between(slot.latest_exit_time, now);
      // A longer time means that the image waited for others: it is not the time of the exit.
      if (seconds <= longest_in_batch(k)) batch_times_.add(k, seconds);
      slot.latest_exit_time = now;
    }
    if (problem != nullptr) {
      slot.answer = refused(problem);
    } else if (leaves) {
      slot.answer =
          answered(slot.exit_state, k, decision.is_limited_at(k, slot.exit_state), slot.rule);
    } else if (!has_time_for(slot, k + 1)) {
      slot.answer = answered(slot.exit_state, k, true, slot.rule);
    } else {
      return false;
    }
    finish(slot, lock);
    return true;
  }

  static bool is_cancelled(const Slot& slot) {
    return slot.cancellation && slot.cancellation->is_cancelled();
  }

  /// REQUIRES: mutex_ is held.
  bool has_time_for(const Slot& slot, int next) {
    if (slot.deadline == TimePoint::max()) return true;
    const double left = seconds_between(slot.latest_exit_time, slot.deadline);
    if (std::isfinite(batch_times_.expected(next))) return batch_times_.fits(next, left);
    return single_image_times_.expected(next) * model_->streams() <= left;
  }

  /// Upper bound in seconds on the time of an exit in a full batch on one thread: the time of the
  /// batch's images one after the other.
  double longest_in_batch(int exit_index) const {
    return 1.5 * single_image_times_.expected(exit_index) * model_->batch() * model_->streams();
  }
  /// Expected seconds of an exit in a batch: as measured, or else the upper bound.
  double expected_in_batch(int exit_index) const {
    const double seen = batch_times_.expected(exit_index);
    return std::isfinite(seen) ? seen : longest_in_batch(exit_index);
  }

  /// Makes the slot of an image that poll() has answered free again, because the runner drops the
  /// image now. REQUIRES: mutex_ is held. @return whether the image had its answer
  bool release_if_done(Slot & slot) {
    if (!slot.done) return false;
    slot.in_runner = false;
    const auto place =
        std::ranges::find(answered_in_runner_, &slot, [](Slot& one) { return &one; });
    if (place != answered_in_runner_.end()) free_.splice(free_.end(), answered_in_runner_, place);
    return true;
  }

  Slot& take_slot(Slots & into, const Rule& rule, const ImageOptions& options, TimePoint start) {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      free_.emplace_back();
      free_.back().self = std::prev(free_.end());
    }
    Slot& slot = free_.front();
    recycle_buffers(slot);  // a slot may still hold memory after an exception
    slot.done = slot.being_decided = false;
    slot.in_runner = true;
    slot.result = nullptr;
    slot.view = nullptr;
    slot.answer = {};
    slot.exits_reached = 0;
    slot.since = start;
    slot.cancellation = options.cancellation;
    slot.rule = rule;
    slot.deadline = rule.milliseconds ? after(start, *rule.milliseconds / 1e3) : TimePoint::max();
    if (&into == &of_stream_) has_deadlines_ = has_deadlines_ || rule.milliseconds.has_value();
    into.splice(into.end(), free_, slot.self);
    return slot;
  }

  /// The time when poll() has to act on an image of the stream: before it reached an exit, early
  /// enough to reach every exit before its deadline; afterwards, at its deadline.
  /// REQUIRES: mutex_ is held.
  TimePoint due_at(const Slot& slot) const {
    if (slot.exits_reached > 0) return slot.deadline;
    double needed = 0;
    for (int k = 0; k < num_exits(); ++k) needed += expected_in_batch(k);
    return slot.deadline - std::chrono::duration_cast<Clock::duration>(
                               std::chrono::duration<double>(std::min(needed, 86400.0)));
  }

  Pixels take_pixels() {
    const std::lock_guard lock(mutex_);
    if (free_pixels_.empty()) return std::make_unique<std::vector<float>>(pixels_.size());
    Pixels pixels = std::move(free_pixels_.back());
    free_pixels_.pop_back();
    return pixels;
  }

  ImageCopy take_image_copy() {
    const std::lock_guard lock(mutex_);
    if (free_image_copies_.empty()) return std::make_unique<api::InputLoader::ImageCopy>();
    ImageCopy image_copy = std::move(free_image_copies_.back());
    free_image_copies_.pop_back();
    return image_copy;
  }

  /// Keeps the memory that held an image's pixels or bytes for the next image.
  /// REQUIRES: mutex_ is held.
  void recycle_buffers(Slot & slot) {
    if (slot.pixels) free_pixels_.push_back(std::move(slot.pixels));
    if (slot.image_copy) free_image_copies_.push_back(std::move(slot.image_copy));
  }

  void finish(Slot & slot) {
    std::unique_lock lock(mutex_);
    recycle_buffers(slot);
    finish(slot, lock);
  }
  /// Stores the answer of an image that the runner does not hold any more. Releases the lock before
  /// it calls on_ready.
  void finish(Slot & slot, std::unique_lock<std::mutex> & lock) {
    slot.in_runner = false;
    if (slot.result == nullptr && stream_options_.from_any_thread) {
      slot.done = true;
      const std::int64_t id = slot.id;
      const Answer answer = std::move(slot.answer);
      free_.splice(free_.end(), of_stream_, slot.self);
      lock.unlock();
      on_answer_(id, answer);
      return;
    }
    if (answer_now(slot) && next_ready() != nullptr && stream_options_.on_ready) {
      const auto on_ready = std::cref(stream_options_.on_ready);
      lock.unlock();
      on_ready();
    }
  }
  /// Marks an image as answered and moves its slot or its answer to where the caller gets it.
  /// REQUIRES: mutex_ is held. @return whether the image belongs to the stream
  bool answer_now(Slot & slot) {
    slot.done = true;
    if (slot.result != nullptr) {
      *slot.result = std::move(slot.answer);
      free_.splice(free_.end(), of_batch_, slot.self);
      return false;
    }
    if (!stream_options_.in_order) finished_.splice(finished_.end(), of_stream_, slot.self);
    return true;
  }

  /// Gives each image whose deadline has passed the answer of the last exit that it reached.
  /// @return whether the waiting images must be run now: an image has waited too long, or one that
  /// is
  ///         due has not reached an exit yet
  bool answer_due_images() {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    bool run = false;
    const double most = stream_options_.flush_after_ms / 1e3;
    if (most > 0) {
      const auto waits = std::ranges::find(of_stream_, false, &Slot::done);
      run = waits != of_stream_.end() && seconds_between(waits->since, now) > most;
    }
    if (!has_deadlines_) return run;
    has_deadlines_ = false;
    for (auto next = of_stream_.begin(); next != of_stream_.end();) {
      Slot& slot = *next++;
      if (slot.done || slot.deadline == TimePoint::max()) continue;
      has_deadlines_ = true;
      if (slot.being_decided || now < due_at(slot)) {
        continue;
      } else if (slot.exits_reached > 0) {
        slot.answer = answered(slot.exit_state, slot.exits_reached - 1, true, slot.rule);
        answer_now(slot);
      } else {
        run = true;
      }
    }
    return run;
  }

  /// Calls `work`, which runs the network. If it throws, the images without an answer get the
  /// message as their error.
  template <typename Work>
  void run(const Work& work) {
    try {
      work();
    } catch (const std::exception& error) {
      fail_unanswered_images(error.what());
      throw;
    } catch (...) {
      fail_unanswered_images("unknown error");
      throw;
    }
  }

  void fail_unanswered_images(const char* why) {
    runner_.drop_images();
    const std::lock_guard lock(mutex_);
    free_.splice(free_.end(), of_batch_);
    free_.splice(free_.end(), answered_in_runner_);
    for (Slots* const slots : {&of_stream_, &finished_})
      for (auto next = slots->begin(); next != slots->end();) {
        Slot& slot = *next++;
        slot.in_runner = false;
        if (slot.done) continue;
        slot.answer = failed(why);
        answer_now(slot);
      }
  }

  void run_waiting() {
    if (is_prepared_) run([&] { runner_.flush(); });
  }

  /// REQUIRES: mutex_ is held. @return the slot whose answer is delivered next; null: none
  const Slot* next_ready() const {
    const Slots& from = stream_options_.in_order ? of_stream_ : finished_;
    return from.empty() || !from.front().done ? nullptr : &from.front();
  }

  void deliver_answers() {
    for (;;) {
      std::int64_t id = 0;
      Answer answer;
      {
        const std::lock_guard lock(mutex_);
        if (next_ready() == nullptr) return;
        Slots& from = stream_options_.in_order ? of_stream_ : finished_;
        Slot& slot = from.front();
        id = slot.id;
        answer = std::move(slot.answer);
        Slots& into = slot.in_runner ? answered_in_runner_ : free_;
        into.splice(into.end(), from, slot.self);
      }
      on_answer_(id, answer);
    }
  }

  std::shared_ptr<engine::OpenedModel> model_;
  api::InputLoader loader_;
  std::vector<Decision> decisions_;  // the most recent ones, for reuse
  Rule rule_;                        // the rule for images without a rule of their own
  bool probabilities_;

  // These members are used for a single image.
  std::vector<float> pixels_;
  policy::ExitState exit_state_;
  bool has_measured_ = false;

  OnAnswer on_answer_;
  StreamOptions stream_options_;
  bool is_prepared_ = false;

  mutable std::mutex mutex_;  // guards all members below but runner_
  api::Statistics statistics_;
  runtime::ExitTimeEstimator single_image_times_;  // for a single image on all threads
  runtime::ExitTimeEstimator batch_times_;         // for an image in a batch or stream
  bool has_deadlines_ = false;  // whether an image of the stream may have a deadline
  std::vector<Pixels> free_pixels_;
  std::vector<ImageCopy> free_image_copies_;
  Slots free_, of_batch_;
  Slots of_stream_;  // the slots of the stream, in the order of push()
  Slots finished_;   // answered slots, in the order of the answers; not used if in_order is set
  Slots answered_in_runner_;  // slots that poll() answered while the runner still holds them

  engine::Runner runner_;  // last, to be destroyed first: its threads use the members above
};

Session::Session(const Model& model, const SessionOptions& options)
    : state_(std::make_unique<State>(model.state_->opened(), options)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Answer Session::classify(const ImageView& image, const ImageOptions& options) {
  return state_->classify(image, options);
}
std::vector<Answer> Session::classify(std::span<const ImageView> images,
                                      std::span<const ImageOptions> options) {
  return state_->classify(images, options);
}
std::vector<float> Session::all_exits(std::span<const ImageView> images) {
  return state_->all_exits(images);
}
void Session::stream(OnAnswer on_answer, const StreamOptions& options) {
  state_->stream(std::move(on_answer), options);
}
void Session::push(std::int64_t id, const ImageView& image, const ImageOptions& options) {
  state_->push(id, image, options);
}
void Session::poll() { state_->poll(); }
std::optional<std::chrono::steady_clock::time_point> Session::next_due() const {
  return state_->next_due();
}
void Session::flush() { state_->flush(); }
std::int64_t Session::pending() const { return state_->pending(); }
Stats Session::stats() const { return state_->stats(); }
void Session::reset_stats() { state_->reset_stats(); }
std::optional<Guarantee> Session::guarantee() const { return state_->guarantee(); }
std::optional<Guarantee> Session::guarantee_so_far() const { return state_->guarantee_so_far(); }

}  // namespace offramp
