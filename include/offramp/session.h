#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "offramp/error.h"
#include "offramp/export.h"
#include "offramp/image.h"
#include "offramp/model.h"

namespace offramp {

namespace api {
class StopDecision;
}

/// The rule that decides at which exit an image stops. Every image reaches at least exit 1, so
/// there always is an answer.
class OFFRAMP_API Stop {
 public:
  /// Stops by the policy that the model was calibrated with. For a model without a policy, a
  /// session throws UsageError.
  static Stop by_policy();
  /// Stops at the first exit whose score is at least `threshold`, in [0, 1]. The score is the
  /// policy's criterion with the policy's temperatures and ensemble, or the largest probability if
  /// the model has no policy. A session throws UsageError if the policy's criterion is "patience",
  /// which counts exits.
  static Stop at_threshold(float threshold);
  /// Stops at the first exit whose score under `criterion` is at least `threshold`. The model's
  /// policy is not used: temperatures are 1, and there is no ensemble.
  /// @param criterion  "confidence", "entropy" or "margin", with a threshold in [0, 1]; or
  ///                   "patience", with a number of consecutive exits that agree
  /// @throws UsageError for another criterion, or a threshold outside its range
  static Stop at_score(std::string_view criterion, float threshold);
  /// Stops by one step of the path that was tested for the model's certificate
  /// (Model::policy_path), for example by a more cautious policy than the chosen one. A session
  /// throws UsageError if the model has no path or the step is not certified.
  /// @param step  index of the step; 0 is the most cautious one
  static Stop at_step(int step);
  /// Stops at the last exit only. Probabilities still use the policy's temperatures and ensemble.
  static Stop never();
  /// Stops at the deepest exit that the deadline allows. The next exit is skipped if, by the times
  /// that its last runs took, it would not be reached before the deadline. The time of an image
  /// starts with the call that passes it to the session and includes decoding; this holds for every
  /// image of a batch too. How well deadlines are met depends on the load of the machine.
  /// Each time an exit is skipped, its expected time decreases towards that of its fastest run
  /// (half way after 100 images), so that it is tried again after a period in which the machine was
  /// slow.
  /// @param milliseconds  above 0
  static Stop within(double milliseconds);
  /// Stops at the deepest exit whose multiply-accumulates do not exceed `macs`; at exit 1 if none
  /// is within the budget.
  /// @param macs  above 0
  static Stop within_macs(std::int64_t macs);

  /// This rule with an additional deadline: the image stops as soon as either of them stops it.
  Stop and_within(double milliseconds) const;
  /// This rule with an additional budget of multiply-accumulates; either of them stops the image.
  Stop and_within_macs(std::int64_t macs) const;

  bool operator==(const Stop&) const = default;

 private:
  friend class api::StopDecision;
  enum class Rule { policy, step, threshold, score, never };
  Rule rule_ = Rule::never;
  int criterion_ = 0;  // a value of Criterion, used by Rule::score only
  float threshold_ = 0;
  int step_ = 0;  // used by Rule::step only
  std::optional<double> milliseconds_;
  std::optional<std::int64_t> macs_;
};

/// A handle that cancels the images that were passed to a session with it. Copies share one state.
/// All functions may be called from any thread.
class OFFRAMP_API Cancellation {
 public:
  Cancellation() : cancelled_(std::make_shared<std::atomic<bool>>(false)) {}
  void cancel() const noexcept { cancelled_->store(true, std::memory_order_relaxed); }
  bool is_cancelled() const noexcept { return cancelled_->load(std::memory_order_relaxed); }

 private:
  std::shared_ptr<std::atomic<bool>> cancelled_;
};

/// Options for one image. A field that is not set takes the session's value.
struct ImageOptions {
  /// The rule for this image, instead of the session's. Its deadline is counted from the start of
  /// the call that takes these options. At the first image with a deadline, a session runs the
  /// network a few times to measure how long each exit takes.
  std::optional<Stop> stop = {};
  /// If this is cancelled, the image's answer is an error, given at the next exit it would reach.
  std::optional<Cancellation> cancellation = {};
};

/// What the network predicts for an image, at the exit where the image stopped.
struct Answer {
  int class_index = -1;
  std::string_view class_name;  ///< valid while the model or a session of it lives
  float probability = 0;        ///< probability of the class `class_index`
  /// [classes] Probabilities at the exit, or of the policy's ensemble if it has one. Empty unless
  /// SessionOptions::probabilities is set.
  std::vector<float> probabilities;
  int exit = 0;              ///< the exit where the image stopped, counted from 1
  std::int64_t macs = 0;     ///< multiply-accumulates spent on the image
  double relative_cost = 0;  ///< `macs` divided by those of the plain network
  /// Whether a deadline or a budget of multiply-accumulates stopped the image before its rule did.
  bool limited = false;
  bool cancelled = false;  ///< whether the image was cancelled; `error` is then set too
  /// Whether the image is not at fault: the network could not be run, its logits are not finite, or
  /// memory ran out; `error` is then set too.
  bool failed = false;
  /// Why there is no answer: the image was refused or cancelled, or `failed` is set. If this is not
  /// empty, all fields but `cancelled` and `failed` are to be ignored.
  std::string error;

  bool ok() const { return error.empty(); }
};

/// Whether the shares of images that leave at each exit differ from those at calibration.
enum class DriftFlag {
  unknown,  ///< there were fewer than 200 images, the file holds no shares from calibration, or the
            ///< session does not stop by the policy
  none,     ///< the shares do not differ significantly
  drifted,  ///< the shares of the most recent images differ: the images may have changed
};

/// Counts of a session's answers so far. Images whose answer is an error are not counted.
struct Stats {
  std::int64_t images = 0;
  std::vector<std::int64_t> exits;  ///< [exits] number of images that left at each exit
  std::vector<double> shares;       ///< [exits] `exits` divided by `images`
  std::int64_t macs = 0;            ///< multiply-accumulates spent on all images
  double relative_cost = 0;         ///< mean relative cost of the images; 0 if there were none

  /// Result of a χ² test of the most recent images against those of calibration. An image's weight
  /// in it decays to 1/e after 2,000 more images. `drifted` means that the p-value is below 1e-4
  /// and that `drift_distance` is at least 0.05.
  DriftFlag drift = DriftFlag::unknown;
  std::vector<double> recent_shares;      ///< [exits] shares of the most recent images
  std::vector<double> calibrated_shares;  ///< [exits] shares at calibration; empty if not stored
  std::int64_t calibrated_images = 0;     ///< number of images behind `calibrated_shares`
  double drift_distance = 0;  ///< share of the images that leave at another exit, in [0, 1]
  double drift_p_value = 1;   ///< probability of a difference this large by chance
};

/// Options of Session::stream.
struct StreamOptions {
  /// Whether answers are delivered in the order of push() instead of as they become ready.
  bool in_order = false;
  /// Longest time in milliseconds that an image may wait for its batch to fill. The first push() or
  /// poll() after that time runs all waiting images. 0 means no limit: then only full batches,
  /// deadlines, most_pending and flush() run images.
  double flush_after_ms = 0;
  /// Largest number of images without a delivered answer, including answers held back by
  /// `in_order`. When it is reached, push() runs all waiting images. At least 1. It bounds the
  /// memory of a stream.
  std::int64_t most_pending = 4096;
  /// Called when an answer becomes ready for the next poll() or push() to deliver, so that a caller
  /// who waits between calls can wake up. May be empty. It is called from any of the model's
  /// threads or from inside push(): it must return quickly, must not throw and must not call the
  /// session.
  std::function<void()> on_ready = {};
  /// Answers are delivered at once, by the thread that computed them: by any of the model's
  /// threads, several at a time, also while push() or flush() runs other images. The callback must
  /// be quick, must not throw, and must not call the session. It cannot be combined with
  /// `in_order`.
  bool from_any_thread = false;
  /// The memory that an image refers to stays valid and unchanged until its answer is delivered, so
  /// that the session makes no copy of it.
  bool images_stay = false;
};

/// Options for all images of a session.
struct SessionOptions {
  /// The rule that stops images. If not set: the model's policy, or Stop::never if it has none.
  std::optional<Stop> stop = {};
  /// Whether Answer::probabilities is filled, which costs one allocation per image.
  bool probabilities = false;
  /// Largest image file or rgb8 image that is decoded or resized, in pixels; larger ones are
  /// refused before memory is allocated. At least 1, at most 2^27.
  std::int64_t max_pixels = std::int64_t{1} << 27;
};

/// Classifies images with a model, each up to the exit where its rule stops it. A session may be
/// used by one thread at a time. It is small compared with its model: it holds the tensors of one
/// image and, once a batch or a stream was run, those of a few batches for each of the model's
/// threads. After the first images of each kind it allocates memory per image only for decoding and
/// for the contents of Answer. A session that was moved from may only be destroyed or assigned to.
class OFFRAMP_API Session {
 public:
  /// If the rule has a deadline, the network is run a few times to measure how long each exit
  /// takes.
  /// @throws UsageError if the rule is invalid for this model
  explicit Session(const Model& model, const SessionOptions& options = {});
  Session(const Model& model, const Stop& stop) : Session(model, SessionOptions{stop}) {}
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  ~Session();

  /// Classifies one image on all of the model's threads.
  /// @throws Error if the image cannot be decoded, has a wrong size or values that are not finite,
  ///         if its logits are not finite, or if it was cancelled; UsageError for invalid options
  Answer classify(const ImageView& image, const ImageOptions& options = {});

  /// Classifies many images, divided among the model's threads. Images that do not leave at an exit
  /// are collected into full batches for the next segment. The answers are bit-equal to those of
  /// one image at a time.
  /// @param options  [images], or empty for the session's options
  /// @return [images] answers in order; an image that cannot be classified has an `error`
  /// @throws UsageError for invalid options
  std::vector<Answer> classify(std::span<const ImageView> images,
                               std::span<const ImageOptions> options = {});

  /// Computes the logits of every exit: no image stops early, whatever the session's rule is.
  /// @return [exits, images, classes]
  /// @throws Error "image <number>: …" (from 0) if an image cannot be decoded or has a wrong size
  std::vector<float> all_exits(std::span<const ImageView> images);

  /// Receives an answer and the `id` that its image was pushed with. It must not call this session.
  /// An exception that it throws leaves the push(), poll() or flush() that called it; the next such
  /// call delivers the remaining answers.
  using OnAnswer = std::function<void(std::int64_t id, const Answer& answer)>;

  /// Begins a stream of images. A later call replaces `on_answer` and `options`.
  /// @throws UsageError for invalid options, or if images of the stream have no answer yet
  void stream(OnAnswer on_answer, const StreamOptions& options = {});

  /// Adds an image to the stream. Full batches run on the model's other threads, or on the calling
  /// thread if the others are busy. Answers that are ready are delivered before push() returns. The
  /// answer for an image that cannot be decoded has an `error`. The memory that `image` refers to
  /// is not used after the call, unless StreamOptions::images_stay is set.
  /// @param id  passed on to OnAnswer; it need not be unique
  /// @throws UsageError if stream() was not called, or for invalid options
  void push(std::int64_t id, const ImageView& image, const ImageOptions& options = {});
  /// Delivers answers that are ready. An image whose deadline has passed gets the answer of the
  /// last exit that it reached. Waiting images are run if one has waited longer than
  /// flush_after_ms, or must start now to reach every exit before its deadline.
  void poll();
  /// The time when poll() should be called next: now if answers are ready, else the first time when
  /// an image exceeds flush_after_ms or must be run because of its deadline. nullopt if there is no
  /// such image.
  std::optional<std::chrono::steady_clock::time_point> next_due() const;
  /// Runs all waiting images and delivers the answers of all images pushed so far.
  void flush();
  /// Number of images that were pushed and whose answers were not delivered yet.
  std::int64_t pending() const;

  /// Counts of the answers since the session was made or reset_stats() was called.
  Stats stats() const;
  /// Sets all counts of stats() to 0.
  void reset_stats();

  /// The certified bound of the model's policy, whether it is in force for this session's answers,
  /// and if not, why: what Model::guarantee() says, drift (Stats::drift), and the session's rule,
  /// since a deadline or a budget may stop images earlier than the policy. `in_force` is `unknown`
  /// while there are too few images to detect drift. nullopt if the model has none. It may do the
  /// work that Model::guarantee() does.
  std::optional<Guarantee> guarantee() const;
  /// The same without that work, as Model::guarantee_so_far().
  std::optional<Guarantee> guarantee_so_far() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp
