#include "engine/runner.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "engine/team.h"
#include "runtime/compile.h"
#include "runtime/omp_threads.h"
#include "runtime/refill_batcher.h"
#include "runtime/single_image_run.h"

namespace offramp::engine {
namespace {

/// A first-in, first-out queue of images. It reuses its memory.
class Queue {
 public:
  std::size_t size() const { return size_; }
  void clear() { size_ = 0; }
  void push(std::int64_t image) {
    if (size_ == ring_.size()) grow();
    ring_[(first_ + size_++) % ring_.size()] = image;
  }
  std::int64_t pop() {
    const std::int64_t image = ring_[first_];
    first_ = (first_ + 1) % ring_.size();
    --size_;
    return image;
  }

 private:
  void grow() {
    std::vector<std::int64_t> larger(std::max<std::size_t>(64, 2 * ring_.size()));
    for (std::size_t i = 0; i < size_; ++i) larger[i] = ring_[(first_ + i) % ring_.size()];
    ring_ = std::move(larger);
    first_ = 0;
  }

  std::vector<std::int64_t> ring_;
  std::size_t first_ = 0, size_ = 0;
};

}  // namespace

class Runner::State final : public Job {
 public:
  explicit State(std::shared_ptr<OpenedModel> model)
      : model_(std::move(model)),
        threads_each_(std::max(1, model_->threads() / model_->streams())),
        lanes_(static_cast<std::size_t>(model_->streams())) {}

  ~State() override {
    if (is_attached_) model_->team().detach(*this);
  }

  runtime::SingleImageRun& one() {
    if (!single_image_run_)
      single_image_run_ = std::make_unique<runtime::SingleImageRun>(model_->single_image_network());
    return *single_image_run_;
  }

  void run(std::int64_t count, const ImageSource& source, const core::ExitVisitor& visit) {
    if (count <= 0) return;
    if (count == 1) {
      run_one(source, visit);
      return;
    }
    prepare(source, visit);
    const auto streams = static_cast<std::int64_t>(lanes_.size());
    // A portion is at most a batch, and its size is chosen so that all lanes get equally many
    // portions.
    const std::int64_t round = streams * batch(), rounds = (count + round - 1) / round;
    {
      const std::lock_guard lock(mutex_);
      portion_ = static_cast<std::size_t>((count + streams * rounds - 1) / (streams * rounds));
      for (std::int64_t image = 0; image < count; ++image) queue_.push(image);
    }
    // The functions refer to objects that are destroyed after this call.
    const auto reset_functions = [this] {
      source_ = nullptr;
      visit_ = nullptr;
    };
    try {
      drain();
    } catch (...) {
      reset_functions();
      throw;
    }
    reset_functions();
  }

  void begin(ImageSource source, core::ExitVisitor visit) {
    prepare(std::move(source), std::move(visit));
    // All batchers are made now, because the first image may have a deadline.
    for (Lane& lane : lanes_) make_batcher(lane);
    const std::lock_guard lock(mutex_);
    portion_ = static_cast<std::size_t>(batch());
  }

  void push(std::int64_t image) {
    std::size_t waiting = 0;
    bool failed = false;
    {
      const std::lock_guard lock(mutex_);
      queue_.push(image);
      waiting = queue_.size();
    }
    if (waiting >= portion_) {
      // The other threads are asked first, because this thread has to prepare the next image.
      if (lanes_.size() > 1) model_->team().notify();
      if (waiting >= portion_ * lanes_.size()) work_here();
    }
    {
      const std::lock_guard lock(mutex_);
      failed = error_ != nullptr;
    }
    if (failed) drain();
  }

  void flush() { drain(); }

  void drop_images() {
    std::unique_lock lock(mutex_);
    if (!error_) error_ = std::make_exception_ptr(Error("forgotten"));
    idle_.wait(lock, [&] { return is_idle(); });
    clear();
  }

  RunCounts counts() const {
    RunCounts counts;
    const std::size_t stages = model_->batch_network()->stages.size();
    const std::lock_guard lock(mutex_);
    counts.images.resize(stages);
    counts.flushed_images.resize(stages);
    std::vector<std::int64_t> full_rows(stages);
    const auto add = [&](const runtime::RefillBatcher& stream) {
      for (std::size_t i = 0; i < stages; ++i) {
        const runtime::SegmentCounts& one = stream.counts()[i];
        counts.macs += one.macs;
        counts.images[i] += one.images;
        counts.flushed_images[i] += one.flushed_images;
        full_rows[i] += one.full_batches * stream.network().batches.back();
      }
    };
    for (const Lane& lane : lanes_)
      if (lane.stream) add(*lane.stream);
    if (single_) add(*single_);
    for (std::size_t i = 0; i < stages; ++i) {
      const auto before_flush = static_cast<double>(counts.images[i] - counts.flushed_images[i]);
      counts.fill.push_back(full_rows[i] == 0 ? 1
                                              : before_flush / static_cast<double>(full_rows[i]));
    }
    return counts;
  }

  bool has_work(int lane) const noexcept override {
    const std::lock_guard lock(mutex_);
    return can_work(lanes_[static_cast<std::size_t>(lane)]);
  }

  void work(int index) noexcept override {
    Lane& lane = lanes_[static_cast<std::size_t>(index)];
    std::size_t count = 0;
    try {
      {
        const std::lock_guard lock(mutex_);
        if (!can_work(lane)) return;
        count = std::min(portion_, queue_.size());
        lane.taken.resize(count);
        for (std::int64_t& image : lane.taken) image = queue_.pop();
        lane.is_busy = true;
      }
      make_batcher(lane);
      for (const std::int64_t image : lane.taken)
        if (source_(image, lane.pixels)) lane.stream->push(image, lane.pixels, visit_);
      if (count == 0) lane.stream->flush(visit_);
    } catch (...) {
      if (lane.stream) lane.stream->clear();
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      queue_.clear();
    }
    bool all_idle = false;
    {
      const std::lock_guard lock(mutex_);
      lane.is_busy = false;
      lane.holds_images = lane.stream && !lane.stream->empty();
      all_idle = is_idle();
    }
    if (all_idle) idle_.notify_all();
  }

 private:
  /// The share of one thread: a stream of images that this thread alone uses. Lane 0 belongs to the
  /// calling thread.
  struct Lane {
    std::unique_ptr<runtime::RefillBatcher> stream;
    std::vector<float> pixels;
    std::vector<std::int64_t> taken;
    bool is_busy = false, holds_images = false;
  };

  void make_batcher(Lane& lane) {
    if (lane.stream) return;
    lane.pixels.resize(static_cast<std::size_t>(model_->image_size()));
    lane.stream = std::make_unique<runtime::RefillBatcher>(model_->batch_network());
  }

  std::int64_t batch() const { return model_->batch(); }

  /// REQUIRES: mutex_ is held.
  bool can_work(const Lane& lane) const {
    if (lane.is_busy || error_) return false;
    if (queue_.size() >= portion_) return true;
    return is_draining_ && (queue_.size() > 0 || lane.holds_images);
  }
  /// REQUIRES: mutex_ is held.
  bool is_idle() const {
    const bool any_busy = std::ranges::any_of(lanes_, &Lane::is_busy);
    if (error_) return !any_busy;
    return !any_busy && queue_.size() == 0 && std::ranges::none_of(lanes_, &Lane::holds_images);
  }

  /// REQUIRES: mutex_ is held, and no lane is busy.
  void clear() {
    error_ = nullptr;
    queue_.clear();
    for (Lane& lane : lanes_) {
      if (lane.stream) lane.stream->clear();
      lane.holds_images = false;
    }
  }

  void prepare(ImageSource source, core::ExitVisitor visit) {
    if (lanes_.size() > 1 && !is_attached_) {
      model_->team().attach(*this);
      is_attached_ = true;
    }
    source_ = std::move(source);
    visit_ = std::move(visit);
  }

  void work_here() {
    const runtime::OmpThreads threads(threads_each_);
    work(0);
  }

  /// Runs all waiting images. @throws any exception of a source or a visitor, from any thread
  void drain() {
    bool for_others = false;
    {
      const std::lock_guard lock(mutex_);
      is_draining_ = true;
      // The images that are left are divided evenly among the lanes.
      portion_ = std::min(
          portion_, std::max<std::size_t>(1, (queue_.size() + lanes_.size() - 1) / lanes_.size()));
      for (std::size_t i = 1; i < lanes_.size(); ++i)
        for_others = for_others || lanes_[i].holds_images || queue_.size() > portion_;
    }
    if (for_others) model_->team().notify();
    {
      const runtime::OmpThreads threads(threads_each_);
      while (has_work(0)) work(0);
    }
    std::exception_ptr error;
    {
      std::unique_lock lock(mutex_);
      idle_.wait(lock, [&] { return is_idle(); });
      is_draining_ = false;
      portion_ = static_cast<std::size_t>(batch());
      error = error_;
      if (error) clear();
    }
    if (error) std::rethrow_exception(error);
  }

  void run_one(const ImageSource& source, const core::ExitVisitor& visit) {
    if (!single_) {
      single_ = std::make_unique<runtime::RefillBatcher>(model_->single_image_network());
      pixels_.resize(static_cast<std::size_t>(model_->image_size()));
    }
    const runtime::OmpThreads threads(single_->network().threads);
    try {
      if (!source(0, pixels_)) return;
      single_->push(0, pixels_, visit);
      single_->flush(visit);
    } catch (...) {
      single_->clear();
      throw;
    }
  }

  std::shared_ptr<OpenedModel> model_;
  int threads_each_;
  std::unique_ptr<runtime::SingleImageRun> single_image_run_;
  std::unique_ptr<runtime::RefillBatcher> single_;  // runs one image on all threads
  std::vector<float> pixels_;                       // the input for single_

  // The calling thread sets these while no lane works.
  bool is_attached_ = false;
  ImageSource source_;
  core::ExitVisitor visit_;

  mutable std::mutex mutex_;  // guards the members below; taken after the lock of a team
  std::condition_variable idle_;
  std::vector<Lane> lanes_;
  Queue queue_;
  std::size_t portion_ = 1;  // number of images that a lane takes from the queue at once
  bool is_draining_ = false;
  std::exception_ptr error_;
};

Runner::Runner(std::shared_ptr<OpenedModel> model)
    : state_(std::make_unique<State>(std::move(model))) {}
Runner::~Runner() = default;

runtime::SingleImageRun& Runner::one() { return state_->one(); }
void Runner::run(std::int64_t count, const ImageSource& source, const core::ExitVisitor& visit) {
  state_->run(count, source, visit);
}
void Runner::begin(ImageSource source, core::ExitVisitor visit) {
  state_->begin(std::move(source), std::move(visit));
}
void Runner::push(std::int64_t image) { state_->push(image); }
void Runner::flush() { state_->flush(); }
void Runner::drop_images() { state_->drop_images(); }
RunCounts Runner::counts() const { return state_->counts(); }

}  // namespace offramp::engine
