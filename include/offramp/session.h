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

/// When an image stops. Every image is asked at exit 1 at least, so there always is an answer.
class OFFRAMP_API Stop {
 public:
  /// As the model was calibrated. A session refuses it for a model without a policy.
  static Stop by_policy();
  /// At the first exit that is at least this sure, in [0, 1]. The score is the policy's criterion
  /// on its temperatures and ensemble; without a policy the largest probability. Not for a policy
  /// that counts exits ("patience").
  static Stop at_threshold(float threshold);
  /// At the first exit whose score reaches a threshold, by a criterion of its own instead of the
  /// policy's: "confidence", "entropy", "margin" (thresholds in [0, 1]), or "patience" (a number of
  /// exits that agree). Temperatures are 1, and no exits are averaged.
  static Stop at_score(std::string_view criterion, float threshold);
  /// At the last exit. Here, too, probabilities are by the policy's temperatures and ensemble.
  static Stop never();
  /// As deep as this time allows, and no earlier: an exit that, by the times of its last runs,
  /// cannot be reached in what is left is not begun. The time of an image counts from the call that
  /// is given it, decoding included, for the images of a batch as well. Above 0. How well a
  /// deadline is kept depends on what else the machine does. An exit that was refused is expected
  /// to be a little faster each time, down to its fastest run (half way after 100 images), so that
  /// it is tried again some time after a slow spell.
  static Stop within(double milliseconds);
  /// As deep as this many multiply-accumulates allow, and no earlier. Above 0.
  static Stop within_macs(std::int64_t macs);

  /// The same, and at the latest when the time is up.
  Stop and_within(double milliseconds) const;
  Stop and_within_macs(std::int64_t macs) const;

  bool operator==(const Stop&) const = default;

 private:
  friend class StopDecision;
  enum class Rule { policy, threshold, score, never };
  Rule rule_ = Rule::never;
  int criterion_ = 0;  // a Criterion, of Rule::score
  float threshold_ = 0;
  std::optional<double> milliseconds_;
  std::optional<std::int64_t> macs_;
};

/// Withdraws images that were given to a session: a handle whose copies share one state. cancel()
/// may be called from any thread.
class OFFRAMP_API Cancellation {
 public:
  Cancellation() : cancelled_(std::make_shared<std::atomic<bool>>(false)) {}
  void cancel() const noexcept { cancelled_->store(true, std::memory_order_relaxed); }
  bool is_cancelled() const noexcept { return cancelled_->load(std::memory_order_relaxed); }

 private:
  std::shared_ptr<std::atomic<bool>> cancelled_;
};

/// How one image is treated. What is not set is as the session has it.
struct ImageOptions {
  /// When this image stops, instead of by the session's rule. The first deadline of a session makes
  /// it run the network some times, to know how long it takes. A deadline counts
  /// from the call that is given the image.
  std::optional<Stop> stop = {};
  /// An image that is cancelled is answered with an error at the next exit it would reach.
  std::optional<Cancellation> cancellation = {};
};

/// What the network predicts for an image, at the exit where the image stopped.
struct Answer {
  int class_index = -1;
  std::string_view class_name;  ///< valid while the model or a session of it lives
  float probability = 0;        ///< of that class
  /// [classes] of the exit, or of the policy's ensemble; empty unless
  /// SessionOptions::probabilities asks for them.
  std::vector<float> probabilities;
  int exit = 0;              ///< counted from 1
  std::int64_t macs = 0;     ///< multiply-accumulates spent on it
  double relative_cost = 0;  ///< these over the plain network's
  /// A deadline or a budget of MACs stopped the image before its rule did: the answer is the best
  /// so far.
  bool limited = false;
  bool cancelled = false;  ///< `error` is then set
  /// Not empty: the image was refused or cancelled, or the network gave no finite numbers for it,
  /// and the rest means nothing.
  std::string error;

  bool ok() const { return error.empty(); }
};

/// Whether images leave where they left when the policy was calibrated.
enum class DriftFlag {
  unknown,  ///< fewer than 200 images, the file does not say, or the session does not stop by
            ///< policy
  none,
  drifted,  ///< of late they leave elsewhere: look at the images
};

/// What a session has answered so far. Refused images do not count.
struct Stats {
  std::int64_t images = 0;
  std::vector<std::int64_t> exits;  ///< [exits] images that left there
  std::vector<double> shares;       ///< these over `images`
  std::int64_t macs = 0;            ///< all that were spent
  double relative_cost = 0;         ///< mean over the images; 0 if there were none

  /// The last few thousand images (each counts 1/e of a new one after 2,000 more) against those of
  /// calibration, by a χ² test. Drifted: p below 1e-4 and at least 5 % of the images elsewhere.
  DriftFlag drift = DriftFlag::unknown;
  std::vector<double> recent_shares;      ///< [exits] of these last images
  std::vector<double> calibrated_shares;  ///< [exits]; empty where the file does not say
  double drift_distance = 0;              ///< share of the images that leave elsewhere
  double drift_p_value = 1;               ///< of a difference like that by chance
};

/// How a stream hands out answers.
struct StreamOptions {
  /// Answers in the order of push(), rather than as they finish.
  bool in_order = false;
  /// Everything that waits is run at the first push() or poll() that finds an image which has
  /// waited longer than this. 0: only flush() does.
  double flush_after_ms = 0;
  /// Images pushed and not yet answered, at most, those included that are held back for the order:
  /// at this many everything that waits is run. At least 1. Besides them a stream holds nothing
  /// that grows.
  std::int64_t most_pending = 4096;
  /// Called when an answer becomes ready that the next poll() or push() can hand out, from any of
  /// the model's threads or from inside push() itself: it must be quick, must not throw, and must
  /// not call the session. For a caller that sleeps between its calls. May be empty.
  std::function<void()> on_ready = {};
};

/// What a session does with every image.
struct SessionOptions {
  /// When images stop. Not set: by the model's policy, or at the last exit if it has none.
  std::optional<Stop> stop = {};
  /// Fills Answer::probabilities, at the price of an allocation an image.
  bool probabilities = false;
};

/// Runs a model on images and stops as it is told. For one thread at a time; cheap beside its
/// model: memory for the tensors of one image, and of a few batches for each of the model's threads
/// once there is a batch or a stream. After the first images of a kind it allocates nothing of its
/// own per image but what decoding needs and what an Answer is asked to hold. One that was moved
/// from may only be destroyed or assigned to.
class OFFRAMP_API Session {
 public:
  /// @throws UsageError if the rule makes no sense for this model. With a deadline, runs the
  /// network some times to know how long it takes.
  explicit Session(const Model& model, const SessionOptions& options = {});
  Session(const Model& model, const Stop& stop) : Session(model, SessionOptions{stop}) {}
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  ~Session();

  /// Classifies one image, on all of the model's threads.
  /// @throws Error if the image cannot be decoded, has a wrong size or values that are not finite,
  /// the network's are not, or it was cancelled; UsageError for options that make no sense
  Answer classify(const ImageView& image, const ImageOptions& options = {});

  /// Classifies many, each of the model's threads on images of its own: survivors of an exit fill
  /// the next segment's batch. The answers are those of one image at a time, to the bit.
  /// @param options  one for each image, or none for all of them
  /// @return one for each image, in order; that of an image which cannot be decoded has an `error`
  std::vector<Answer> classify(std::span<const ImageView> images,
                               std::span<const ImageOptions> options = {});

  /// Logits of every exit: the whole network runs, whatever the rule says.
  /// @return [exits, images, classes]
  /// @throws Error "image <number>: …" if one cannot be used
  std::vector<float> all_exits(std::span<const ImageView> images);

  /// Called with the number that push() was given. What it throws leaves the push(), poll() or
  /// flush() that called it, and the answers after that are given by the next. It must not call
  /// this session.
  using OnAnswer = std::function<void(std::int64_t id, const Answer& answer)>;

  /// Begins a stream of images, or changes how it goes on once nothing waits.
  /// @throws UsageError for options that make no sense, or while images wait
  void stream(OnAnswer on_answer, const StreamOptions& options = {});

  /// Takes the next image of the stream; full batches run on the model's threads, this one among
  /// them when the others are busy. Answers that are ready are handed out before it returns. An
  /// image that cannot be decoded is answered with an `error`. The image need not live on.
  /// @param id  yours; it need not be unique  @throws UsageError before stream()
  void push(std::int64_t id, const ImageView& image, const ImageOptions& options = {});
  /// Hands out answers that are ready, answers images whose deadline has come with the best so far,
  /// and runs what has waited too long or must be run now to reach every exit by its deadline.
  void poll();
  /// When poll() has something to do: now if answers are ready, else when the first image will have
  /// waited too long or must be run for its deadline; nullopt if nothing of that kind lies ahead.
  std::optional<std::chrono::steady_clock::time_point> next_due() const;
  /// Runs all that waits: afterwards every image pushed has its answer.
  void flush();
  /// Images pushed and not yet answered.
  std::int64_t pending() const;

  Stats stats() const;
  /// Forgets the statistics.
  void reset_stats();

  /// What was certified of answers as this session gives them; nothing under another rule than the
  /// policy alone: a deadline may stop earlier.
  std::optional<Promise> promise() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp
