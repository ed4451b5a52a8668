#include "offramp/session.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <list>
#include <utility>

#include "api/model_state.h"
#include "core/error.h"
#include "core/file.h"
#include "image/image.h"
#include "policy/drift.h"
#include "policy/policy.h"
#include "runtime/omp_threads.h"
#include "runtime/step_times.h"
#include "runtime/stream.h"
#include "runtime/walk.h"

namespace offramp {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmUpRuns = 6;
constexpr const char* kNoNumbers = "the network's values for this image are not finite";

bool are_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

class [[gnu::visibility("hidden")]] Session::State {
 public:
  State(std::shared_ptr<const Model::State> model, const Stop& stop)
      : model_(std::move(model)),
        stop_(stop),
        policy_(policy_for(stop, *model_)),
        last_exit_(last_exit_for(stop, *model_)),
        pixels_(static_cast<std::size_t>(element_count(model_->file().graph.input))),
        times_(num_exits()) {
    reset_stats();
    if (stop_.milliseconds_) measure_steps();
  }

  Answer classify(const ImageView& image) {
    const auto start = Clock::now();
    load(image);
    Answer answer = walk_image(start);
    if (!answer.ok()) throw Error("{}", answer.error);
    return answer;
  }

  std::vector<Answer> classify(std::span<const ImageView> images) {
    std::vector<Answer> answers(images.size());
    if (one_by_one() || images.size() == 1) {
      for (std::size_t i = 0; i < images.size(); ++i) {
        const auto start = Clock::now();
        if (try_load(images[i], answers[i])) answers[i] = walk_image(start);
      }
      return answers;
    }
    if (images.empty()) return answers;
    run([&] {
      for (std::size_t i = 0; i < images.size(); ++i) {
        if (!try_load(images[i], answers[i])) continue;
        Slot& slot = *take_slot(of_batch_);
        slot.result = &answers[i];
        many().push(slot.index, pixels_, visitor_);
      }
      many().flush(visitor_);
    });
    return answers;
  }

  void stream(OnAnswer on_answer, const StreamOptions& options) {
    if (!on_answer) throw UsageError("stream: there is nobody to tell the answers");
    if (!(options.flush_after_ms >= 0))
      throw UsageError("stream: expected flush_after_ms of at least 0, got {}",
                       options.flush_after_ms);
    if (options.most_pending < 1)
      throw UsageError("stream: expected most_pending of at least 1, got {}", options.most_pending);
    if (pending() > 0) throw UsageError("stream: {} images wait: flush first", pending());
    on_answer_ = std::move(on_answer);
    stream_options_ = options;
  }

  void push(std::int64_t id, const ImageView& image) {
    if (!on_answer_) throw UsageError("push: there is no stream: call stream() first");
    const auto start = Clock::now();
    Slot& slot = *take_slot(of_stream_);
    slot.id = id;
    slot.since = start;
    if (!try_load(image, slot.answer)) {
      finish(slot);
    } else if (one_by_one()) {
      run([&] {
        slot.answer = walk_image(start);
        finish(slot);
      });
    } else {
      run([&] { many().push(slot.index, pixels_, visitor_); });
    }
    if (pending() >= stream_options_.most_pending) run_waiting();
    poll();
  }

  void poll() {
    const double most = stream_options_.flush_after_ms / 1e3;
    if (most > 0) {
      const auto waits = std::ranges::find(of_stream_, false, &Slot::done);
      if (waits != of_stream_.end() && seconds_between(waits->since, Clock::now()) > most)
        run_waiting();
    }
    hand_out();
  }

  void flush() {
    run_waiting();
    hand_out();
  }

  std::int64_t pending() const {
    return static_cast<std::int64_t>(of_stream_.size() + finished_.size());
  }

  Stats stats() const {
    Stats stats = stats_;
    for (const std::int64_t count : stats.exits)
      stats.shares.push_back(
          stats.images == 0 ? 0 : static_cast<double>(count) / static_cast<double>(stats.images));
    if (stats.images > 0)
      stats.relative_cost = static_cast<double>(stats.macs) / static_cast<double>(stats.images) /
                            static_cast<double>(model_->cost().plain_macs);
    stats.recent_shares = recent_.shares();
    const std::optional<ChosenPolicy>& chosen = model_->file().policy;
    if (!chosen || !chosen->seen) return stats;
    stats.calibrated_shares = chosen->seen->shares;
    if (!by_policy_alone()) return stats;
    const DriftVerdict verdict =
        compare_exits(stats.recent_shares, recent_.images(), stats.calibrated_shares,
                      static_cast<double>(chosen->seen->images));
    stats.drift_distance = verdict.distance;
    stats.drift_p_value = verdict.p_value;
    if (verdict.drift == Drift::none) stats.drift = DriftFlag::none;
    if (verdict.drift == Drift::drifted) stats.drift = DriftFlag::drifted;
    return stats;
  }

  void reset_stats() {
    stats_ = {};
    stats_.exits.resize(static_cast<std::size_t>(num_exits()));
    recent_ = ExitWindow(num_exits());
  }

  std::optional<Promise> promise() const {
    return by_policy_alone() ? model_->promise() : std::nullopt;
  }

 private:
  /// An image that a batch or the stream is waiting for.
  struct Slot {
    std::int64_t index = 0;  ///< in slots_: its number in the runtime's stream
    std::int64_t id = 0;
    Clock::time_point since;
    Opinion opinion;
    Answer answer;
    Answer* result = nullptr;  ///< where an image of a batch is to be answered
    bool done = false;
  };
  using Slots = std::list<Slot>;

  static Policy policy_for(const Stop& stop, const Model::State& model) {
    const std::optional<ChosenPolicy>& chosen = model.file().policy;
    if (stop.rule_ == Stop::Rule::policy) {
      if (!chosen)
        throw UsageError("the model has no policy: calibrate it, or stop by another rule");
      return chosen->policy;
    }
    // Probabilities are the policy's, whatever stops an image: its temperatures, its ensemble.
    Policy policy =
        chosen ? chosen->policy : never_stop(static_cast<int>(model.cost().exit_macs.size()));
    if (stop.rule_ == Stop::Rule::never) {
      std::ranges::fill(policy.thresholds, std::nullopt);
      return policy;
    }
    if (policy.criterion == Criterion::patience)
      throw UsageError("threshold: the model's policy counts exits that agree; there is no score");
    std::ranges::fill(policy.thresholds, stop.threshold_);
    return policy;
  }

  static int last_exit_for(const Stop& stop, const Model::State& model) {
    const std::vector<std::int64_t>& macs = model.cost().exit_macs;
    int last = static_cast<int>(macs.size()) - 1;
    while (stop.macs_ && last > 0 && macs[static_cast<std::size_t>(last)] > *stop.macs_) --last;
    return last;
  }

  int num_exits() const { return static_cast<int>(model_->cost().exit_macs.size()); }
  bool by_policy_alone() const {
    return stop_.rule_ == Stop::Rule::policy && !stop_.milliseconds_ && !stop_.macs_;
  }
  /// A deadline is an image's own.
  bool one_by_one() const { return stop_.milliseconds_.has_value(); }

  Walk& one() {
    if (!walk_) walk_ = std::make_unique<Walk>(model_->for_one());
    return *walk_;
  }
  Stream& many() {
    if (!many_) many_ = std::make_unique<Stream>(model_->for_many());
    return *many_;
  }

  // Images.

  void load(const ImageView& image) {
    switch (image.form_) {
      case ImageView::Form::normalised:
        if (image.values_.size() != pixels_.size())
          throw Error("image: {} values, but the network takes {}", image.values_.size(),
                      to_string(model_->file().graph.input));
        if (!are_finite(image.values_)) throw Error("image: a value is not finite");
        std::ranges::copy(image.values_, pixels_.begin());
        return;
      case ImageView::Form::rgb8:
        load_rgb8(image);
        return;
      case ImageView::Form::encoded:
        refuse_other_channels();
        to_input(decode_image(image.bytes_), model_->file().preprocessing, pixels_);
        return;
      case ImageView::Form::file:
        refuse_other_channels();
        load_file(image.path_);
        return;
    }
  }

  void load_rgb8(const ImageView& image) {
    refuse_other_channels();
    const DecodeLimits limits;
    if (image.width_ < 1 || image.height_ < 1 || image.width_ > limits.max_side ||
        image.height_ > limits.max_side)
      throw Error("image: expected sides of 1 to {} pixels, got {}x{}", limits.max_side,
                  image.width_, image.height_);
    const auto expected =
        static_cast<std::uint64_t>(image.width_) * static_cast<std::uint64_t>(image.height_) * 3;
    if (image.pixels_.size() != expected)
      throw Error("image: {} bytes of pixels, but {}x{} takes {}", image.pixels_.size(),
                  image.width_, image.height_, expected);
    const Preprocessing& preprocessing = model_->file().preprocessing;
    if (image.width_ == preprocessing.width && image.height_ == preprocessing.height)
      normalise(image.pixels_, preprocessing, pixels_);
    else
      to_input({image.width_, image.height_, {image.pixels_.begin(), image.pixels_.end()}},
               preprocessing, pixels_);
  }

  void load_file(const std::filesystem::path& path) {
    const std::vector<std::byte> bytes = read_file(path, kMaxImageBytes);
    try {
      to_input(decode_image(bytes), model_->file().preprocessing, pixels_);
    } catch (const Error& error) {
      throw_with_place(path.string(), error);
    }
  }

  void refuse_other_channels() const {
    const std::int64_t channels = model_->file().graph.input[0];
    if (channels != 3)
      throw Error("image: the network takes {} channels, not red, green and blue", channels);
  }

  bool try_load(const ImageView& image, Answer& answer) {
    try {
      load(image);
      return true;
    } catch (const std::exception& error) {  // memory for it, too, may be what is missing
      answer = {};
      answer.error = error.what();
      return false;
    }
  }

  // Decisions.

  /// Whether an image stops at an exit; the rule's own, or because the budget ends there.
  bool stops(int exit_index, std::span<const float> logits, Opinion& opinion) const {
    return consult(policy_, exit_index, logits, opinion) || exit_index >= last_exit_;
  }

  Answer answered(const Opinion& opinion, int exit_index) {
    Answer answer;
    answer.class_index = opinion.answer;
    answer.class_name = model_->file().classes[static_cast<std::size_t>(opinion.answer)];
    answer.probability = opinion.p[static_cast<std::size_t>(opinion.answer)];
    answer.probabilities = opinion.p;
    answer.exit = exit_index + 1;
    answer.macs = model_->cost().exit_macs[static_cast<std::size_t>(exit_index)];
    answer.relative_cost = model_->relative_costs()[static_cast<std::size_t>(exit_index)];
    stats_.images += 1;
    stats_.exits[static_cast<std::size_t>(exit_index)] += 1;
    stats_.macs += answer.macs;
    recent_.add(exit_index);
    return answer;
  }

  static Answer refused(const char* why) {
    Answer answer;
    answer.error = why;
    return answer;
  }

  /// One image by itself. @param start  when its time began
  Answer walk_image(Clock::time_point start) {
    Walk& walk = one();
    walk.begin(pixels_);
    const bool timed = stop_.milliseconds_.has_value();
    const double budget = stop_.milliseconds_.value_or(0) / 1e3;
    auto before = timed ? Clock::now() : start;
    for (int next = 0;; ++next) {
      if (timed && next > 0 && !times_.fits(next, budget - seconds_between(start, before))) break;
      const std::span<const float> logits = walk.advance();
      if (!are_finite(logits)) return refused(kNoNumbers);
      const bool stop = stops(next, logits, opinion_);
      if (timed) {
        const auto now = Clock::now();
        times_.add(next, seconds_between(before, now));
        before = now;
      }
      if (stop) break;
    }
    return answered(opinion_, walk.exit_index());
  }

  void measure_steps() {
    Walk& walk = one();
    for (int run = 0; run <= kWarmUpRuns; ++run) {
      walk.begin(pixels_);
      for (int k = 0; k < num_exits(); ++k) {
        const auto before = Clock::now();
        consult(policy_, k, walk.advance(), opinion_);
        if (run > 0) times_.add(k, seconds_between(before, Clock::now()));
      }
    }
  }

  // Batches and streams.

  Slots::iterator take_slot(Slots & into) {
    if (free_.empty()) {
      const std::size_t index = slots_.size();
      slots_.emplace_back();  // memory may end in between: an entry without a slot is never used
      free_.emplace_back().index = static_cast<std::int64_t>(index);
      slots_[index] = std::prev(free_.end());
    }
    const auto slot = free_.begin();
    slot->done = false;
    slot->result = nullptr;
    slot->answer = {};
    into.splice(into.end(), free_, slot);
    return slot;
  }

  void finish(Slot & slot) {
    const auto place = slots_[static_cast<std::size_t>(slot.index)];
    slot.done = true;
    if (slot.result != nullptr) {
      *slot.result = std::move(slot.answer);
      free_.splice(free_.end(), of_batch_, place);
    } else if (!stream_options_.in_order) {
      finished_.splice(finished_.end(), of_stream_, place);
    }
  }

  /// Runs the network. Images that are under way when that fails are answered with the reason.
  template <typename Work>
  void run(const Work& work) {
    const OmpThreads threads(model_->threads());
    try {
      work();
    } catch (const std::exception& error) {
      if (many_) many_->clear();
      free_.splice(free_.end(), of_batch_);
      for (auto slot = of_stream_.begin(); slot != of_stream_.end();) {
        Slot& lost = *slot++;
        if (lost.done) continue;
        lost.answer.error = error.what();
        finish(lost);
      }
      throw;
    }
  }

  void run_waiting() {
    if (many_) run([&] { many_->flush(visitor_); });
  }

  void hand_out() {
    for (;;) {
      Slots& from = stream_options_.in_order ? of_stream_ : finished_;
      if (from.empty() || !from.front().done) return;
      const auto slot = from.begin();
      const std::int64_t id = slot->id;
      const Answer answer = std::move(slot->answer);
      free_.splice(free_.end(), from, slot);
      on_answer_(id, answer);
    }
  }

  std::shared_ptr<const Model::State> model_;
  Stop stop_;
  Policy policy_;
  int last_exit_;  ///< 0-based: beyond it lies more than the budget of MACs
  std::vector<float> pixels_;
  Opinion opinion_;  ///< of the image that goes by itself
  StepTimes times_;
  std::unique_ptr<Walk> walk_;
  std::unique_ptr<Stream> many_;

  OnAnswer on_answer_;
  StreamOptions stream_options_;
  std::vector<Slots::iterator> slots_;  // all there are, by index
  Slots free_, of_batch_;
  Slots of_stream_;  // in the order of push
  Slots finished_;   // to be handed out, unless that is done in order
  ExitVisitor visitor_ = [this](std::int64_t image, int exit_index, std::span<const float> logits) {
    Slot& slot = *slots_[static_cast<std::size_t>(image)];
    if (!are_finite(logits))
      slot.answer = refused(kNoNumbers);
    else if (stops(exit_index, logits, slot.opinion))
      slot.answer = answered(slot.opinion, exit_index);
    else
      return false;
    finish(slot);
    return true;
  };

  Stats stats_;  // without what is derived
  ExitWindow recent_{1};
};

Session::Session(const Model& model)
    : Session(model, model.has_policy() ? Stop::by_policy() : Stop::never()) {}
Session::Session(const Model& model, const Stop& stop)
    : state_(std::make_unique<State>(model.state_, stop)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Answer Session::classify(const ImageView& image) { return state_->classify(image); }
std::vector<Answer> Session::classify(std::span<const ImageView> images) {
  return state_->classify(images);
}
void Session::stream(OnAnswer on_answer, const StreamOptions& options) {
  state_->stream(std::move(on_answer), options);
}
void Session::push(std::int64_t id, const ImageView& image) { state_->push(id, image); }
void Session::poll() { state_->poll(); }
void Session::flush() { state_->flush(); }
std::int64_t Session::pending() const { return state_->pending(); }
Stats Session::stats() const { return state_->stats(); }
void Session::reset_stats() { state_->reset_stats(); }
std::optional<Promise> Session::promise() const { return state_->promise(); }

}  // namespace offramp
