#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "offramp/session.h"
#include "serve/budget.h"
#include "serve/image_rule.h"
#include "serve/watch.h"

namespace offramp::serve {

/// What became of an image.
struct ImageResult {
  enum class Kind {
    answered,
    refused,    ///< the image or its options: `answer.error` says why
    no_room,    ///< there is no room to decode it: to be sent again later
    cancelled,  ///< its client went away
    failed      ///< the network could not be run, or gave no finite numbers: no fault of the image
  };
  Kind kind = Kind::answered;
  Answer answer;
  double queue_ms = 0;  ///< from its arrival until a thread of the model took it
  double total_ms = 0;  ///< from its arrival until its answer
};

/// An image that waits for its answer.
struct ImageJob {
  ImageView image;
  std::shared_ptr<const void> owner;  ///< of the bytes that `image` refers to
  /// Whether `image` is a file or has another size than the network's input: it is then decoded on
  /// other threads than those that run the model.
  bool is_to_decode = false;
  std::shared_ptr<Budget> budget = nullptr;  ///< of what is decoded; null: it is not counted
  ImageRule rule;
  Cancellation cancellation;
  std::chrono::steady_clock::time_point arrived;
  /// Called once, from any of the model's threads: quick, and it must not throw.
  std::function<void(ImageResult)> done;
};

struct BatcherOptions {
  std::int64_t max_queue = 1024;         ///< images that wait to be taken, at most
  double max_queue_delay_ms = 0;         ///< how long an image may wait for others to fill a batch
  std::int64_t max_pixels = 16'000'000;  ///< of an image that is decoded or resized
  WatchOptions watch = {};
  std::optional<std::uint64_t> audit_seed = {};  ///< not set: from the system's randomness
  /// Told when the watch raises an alarm, from any of the model's threads. May be empty.
  std::function<void(const WatchStats&)> on_alarm = {};
};

/// Counts of times, in buckets whose bounds grow by a quarter from 0.1 ms to 65 s.
class LatencyCounts {
 public:
  /// [60] upper bounds of the buckets, in milliseconds
  static const std::vector<double>& bounds_ms();
  LatencyCounts();
  void add(double milliseconds);
  /// [61] times up to each bound and above the bound before; the last one: above all bounds
  const std::vector<std::int64_t>& counts() const { return counts_; }

 private:
  std::vector<std::int64_t> counts_;
};

/// What a batcher has answered.
struct BatcherStats {
  std::int64_t answered = 0, refused = 0, no_room = 0, cancelled = 0, failed = 0, limited = 0;
  std::int64_t alone = 0;             ///< images that ran by themselves, on all threads
  std::int64_t groups = 0;            ///< times that images were taken from the queue
  double queue_ms = 0, total_ms = 0;  ///< sums over the answered
  double relative_cost = 0;           ///< sum over the answered
  std::vector<std::int64_t> exits;    ///< [exits] answered there
  LatencyCounts latency;              ///< total_ms of the answered
  std::chrono::system_clock::time_point last;
  WatchStats watch;
  // These two are at most a second old.
  Stats session;  ///< drift
  std::optional<Guarantee> guarantee;
};

/// The queue of one model and the thread that runs it. Each image is answered when it leaves the
/// network. An image that finds nobody before it runs by itself on all threads. Image files and
/// pixels of other sizes than the network's are decoded by a Decoder before they join the queue.
///
/// While more images wait than were taken, survivors of an exit and newcomers share the batches of
/// the model's threads. As soon as none waits, those under way are run to their ends at once,
/// without waiting for others to fill their batches: an image that arrives then, whatever its
/// priority and deadline, is taken when they have left. So is one that arrives while an image runs
/// by itself. Images that follow the policy without a deadline are audited by the coin of a Watch:
/// once such an image has its answer, its input runs again, to the last exit, behind those that
/// wait for answers, or before them if too many audits wait. The watch gets the results in the
/// order in which the images were taken from the queue. Thread-safe.
class Batcher {
 public:
  Batcher(const Model& model, const BatcherOptions& options);
  /// As close(). Not to be called from the thread that calls ImageJob::done.
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  enum class Admission { admitted, queue_full, too_many };
  /// Takes all of the images or none of them.
  Admission submit(std::vector<ImageJob> jobs);

  /// Answers everything that waits, then ends the thread. submit() is not to be called any more.
  void close();

  std::int64_t waiting() const;  ///< images in the queue, those that are being decoded included
  std::int64_t pending() const;  ///< images without an answer, those in the queue included
  BatcherStats stats() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp::serve
