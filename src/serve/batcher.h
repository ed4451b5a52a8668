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

/// The outcome of an image.
struct ImageResult {
  enum class Kind {
    answered,
    refused,    ///< the image or its options are invalid; `answer.error` contains the reason
    no_room,    ///< there is no memory to decode the image; the client may send it again later
    cancelled,  ///< the client closed the connection
    failed  ///< the network could not be run or gave no finite values; the image is not at fault
  };
  Kind kind = Kind::answered;
  Answer answer;
  double queue_ms = 0;  ///< time from the arrival of the image until a thread of the model took it
  double total_ms = 0;  ///< time from the arrival of the image until its answer
};

/// An image that waits for its answer.
struct ImageJob {
  ImageView image;
  std::shared_ptr<const void> owner;  ///< owner of the bytes that `image` refers to
  /// Whether `image` is a file or has another size than the network's input. It is then decoded on
  /// other threads than those that run the model.
  bool is_to_decode = false;
  /// Budget for the memory of the decoded image; null: it is not counted.
  std::shared_ptr<Budget> budget = nullptr;
  ImageRule rule;
  Cancellation cancellation;
  std::chrono::steady_clock::time_point arrived;
  /// Called once, from any of the model's threads. It must be quick and must not throw.
  std::function<void(ImageResult)> done;
};

struct BatcherOptions {
  std::int64_t max_queue = 1024;  ///< largest number of images that wait to be taken
  /// Images are refused while those before them would take longer than this, by ServiceTime; 0: no
  /// limit.
  double max_wait_ms = 0;
  double max_queue_delay_ms = 0;  ///< longest time that an image waits for others to fill its batch
  std::int64_t max_pixels = 16'000'000;  ///< limit for an image that is decoded or resized
  WatchOptions watch = {};
  /// Seed of the audits; not set: a random one from the system.
  std::optional<std::uint64_t> audit_seed = {};
  /// Called when the watch raises an alarm, from any of the model's threads. May be empty.
  std::function<void(const WatchStats&)> on_alarm = {};
};

/// Counts of times, in buckets whose bounds grow by a quarter from 0.1 ms to 65 s.
class LatencyCounts {
 public:
  /// [60] Upper bounds of the buckets, in milliseconds.
  static const std::vector<double>& bounds_ms();
  LatencyCounts();
  void add(double milliseconds);
  /// [61] Number of times in each bucket: up to its bound and above the bound before. The last
  /// bucket has no bound.
  const std::vector<std::int64_t>& counts() const { return counts_; }

 private:
  std::vector<std::int64_t> counts_;
};

/// Counts of the answers of a batcher.
struct BatcherStats {
  std::int64_t answered = 0, refused = 0, no_room = 0, cancelled = 0, failed = 0, limited = 0;
  std::int64_t alone = 0;             ///< images that ran alone, on all threads
  std::int64_t groups = 0;            ///< how often images were taken from the queue
  double queue_ms = 0, total_ms = 0;  ///< sums over the answered images
  double relative_cost = 0;           ///< sum over the answered images
  std::vector<std::int64_t> exits;    ///< [exits] number of images answered at each exit
  LatencyCounts latency;              ///< total_ms of the answered images
  std::chrono::system_clock::time_point last;
  WatchStats watch;
  // `session` and `guarantee` are at most a second old.
  Stats session;  ///< drift
  std::optional<Guarantee> guarantee;
};

/// The queue of one model and the thread that runs it. Each image is answered when it leaves the
/// network. An image that arrives while no other waits or runs is run alone, on all threads. Image
/// files, and pixels of other sizes than the network's, are decoded by a Decoder before they join
/// the queue.
///
/// While more images wait than were taken, images that continue after an exit share the batches of
/// the model's threads with new ones. As soon as none waits, the images in the network run to their
/// ends at once, without waiting for full batches. An image that arrives then, whatever its
/// priority and deadline, is taken when they have left; so is one that arrives while an image runs
/// alone. Images that follow the policy without a deadline are audited at random by a Watch: once
/// such an image has its answer, its input runs again, to the last exit. An audit runs after the
/// images that wait for answers, or before them if too many audits wait. The watch gets the results
/// in the order in which the images were taken from the queue. Thread-safe.
class Batcher {
 public:
  Batcher(const Model& model, const BatcherOptions& options);
  /// Calls close(). Not to be called from the thread that calls ImageJob::done.
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  enum class Admission { admitted, queue_full, too_many };
  /// Accepts all of the images or none of them.
  Admission submit(std::vector<ImageJob> jobs);
  /// Whether submit() would refuse an image now because too many wait. Requests are refused by this
  /// before they are read.
  bool is_full() const;

  /// Answers all waiting images, then ends the thread. submit() must not be called any more.
  void close();

  std::int64_t waiting() const;  ///< number of images in the queue, including those being decoded
  /// Number of images without an answer, including those in the queue.
  std::int64_t pending() const;
  BatcherStats stats() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp::serve
