#include "serve/decoder.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "image/image.h"

namespace offramp::serve {

class Decoder::State {
 public:
  State(const Model& model, std::int64_t max_pixels)
      : model_(model),
        max_pixels_(max_pixels),
        input_size_(static_cast<std::size_t>(model.channels()) *
                    static_cast<std::size_t>(model.height()) *
                    static_cast<std::size_t>(model.width())),
        most_large_(static_cast<std::size_t>(std::max(1, model.threads() / 2))) {
    try {
      for (std::size_t i = 0; i < static_cast<std::size_t>(model.threads()) + 1; ++i)
        threads_.emplace_back([this] { work(); });
    } catch (const std::exception&) {
      end();
      throw;
    }
  }
  ~State() { end(); }

  void submit(std::list<DecodeTask> tasks) noexcept {
    {
      const std::lock_guard lock(mutex_);
      small_.splice(small_.end(), tasks);
    }
    changed_.notify_all();
  }

 private:
  using Tasks = std::list<DecodeTask>;  // list nodes move between lists without memory allocation

  void end() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  bool may_begin_large() const { return !large_.empty() && num_large_ < most_large_; }

  void work() {
    for (;;) {
      Tasks one;
      bool is_large = false;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] {
          return !small_.empty() || may_begin_large() || (closing_ && large_.empty());
        });
        if (!small_.empty()) {
          one.splice(one.end(), small_, small_.begin());
        } else if (may_begin_large()) {
          one.splice(one.end(), large_, large_.begin());
          is_large = true;
          ++num_large_;
        } else {
          return;
        }
      }
      const bool is_done = decode(one.front(), is_large ? max_pixels_ : kSmallPixels);
      if (is_done) {
        one.front().done(one.front());
        one.clear();
      }
      {
        const std::lock_guard lock(mutex_);
        if (is_large) --num_large_;
        if (!is_done && large_.size() < kMaxLarge) large_.splice(large_.end(), one);
      }
      changed_.notify_all();
      if (one.empty()) continue;
      one.front().outcome = DecodeTask::Outcome::no_room;
      one.front().done(one.front());
    }
  }

  /// @return false if the image has more than `most` pixels and must be decoded later
  bool decode(DecodeTask& task, std::int64_t most) const noexcept {
    try {
      task.outcome = DecodeTask::Outcome::refused;
      if (task.cancellation.is_cancelled()) return true;
      auto input = std::make_shared<Input>();
      input->memory = Reservation(task.budget);
      Reservation pixels(task.budget);
      if (!input->memory.take(sizeof(float) * input_size_) ||
          !pixels.take(kBytesPerPixel * static_cast<std::size_t>(task.pixels))) {
        task.outcome = DecodeTask::Outcome::no_room;
        return true;
      }
      input->values.resize(input_size_);
      model_.prepare(task.image, input->values, std::min(most, max_pixels_));
      task.outcome = DecodeTask::Outcome::decoded;
      task.input = std::move(input);
      task.owner.reset();  // the bytes are not needed any more
    } catch (const image::TooLarge& error) {
      if (most >= max_pixels_ || error.width() > max_pixels_ / error.height())
        return refuse(task, error);
      task.pixels = error.width() * error.height();
      return false;
    } catch (const Error& error) {
      return refuse(task, error);
    } catch (const std::exception&) {
      task.outcome = DecodeTask::Outcome::failed;
    }
    return true;
  }

  static bool refuse(DecodeTask& task, const std::exception& error) noexcept {
    try {
      task.error = error.what();
    } catch (const std::exception&) {
      task.outcome = DecodeTask::Outcome::failed;
    }
    return true;
  }

  const Model model_;
  const std::int64_t max_pixels_;
  const std::size_t input_size_;
  // Largest number of large images that are decoded at a time; there is at least one thread more.
  const std::size_t most_large_;

  std::mutex mutex_;  // guards the members below except threads_
  std::condition_variable changed_;
  Tasks small_, large_;
  std::size_t num_large_ = 0;
  bool closing_ = false;

  std::vector<std::thread> threads_;
};

Decoder::Decoder(const Model& model, std::int64_t max_pixels)
    : state_(std::make_unique<State>(model, max_pixels)) {}
Decoder::~Decoder() = default;
void Decoder::submit(std::list<DecodeTask> tasks) noexcept { state_->submit(std::move(tasks)); }

}  // namespace offramp::serve
