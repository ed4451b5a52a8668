#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace offramp::data {

/// Makes an unlimited sequence of values ahead of their use, on a background thread. At most
/// `ready` values exist besides the one in use; their memory is reused. Only one thread may call
/// next(). The destructor may be called at any time; it waits at most for the value that is being
/// made.
/// @tparam Clock  measures the time waited
template <typename T, typename Clock = std::chrono::steady_clock>
class Prefetch {
 public:
  /// Fills `value` for a step of the sequence. On entry `value` holds the result of an earlier
  /// step.
  using Make = std::function<void(std::int64_t step, T& value)>;

  Prefetch(Make make, std::size_t ready, std::int64_t first_step = 0)
      : make_(std::move(make)), slots_(ready + 1), step_(first_step) {
    thread_ = std::thread([this] { run(); });
  }

  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;

  ~Prefetch() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    slot_freed_.notify_one();
    thread_.join();
  }

  /// Returns the next value, which stays valid until the next call. If `make` threw, the exception
  /// is thrown here after all values made before it, and again at every later call.
  T& next() {
    std::unique_lock lock(mutex_);
    if (in_use_) {
      in_use_ = false;
      first_ = (first_ + 1) % slots_.size();
      --num_filled_slots_;
      slot_freed_.notify_one();
    }
    if (num_filled_slots_ == 0 && !failure_) {
      const auto begin = Clock::now();
      slot_filled_.wait(lock, [this] { return num_filled_slots_ > 0 || failure_; });
      waited_ += Clock::now() - begin;
    }
    if (num_filled_slots_ == 0) std::rethrow_exception(failure_);
    in_use_ = true;
    return slots_[first_];
  }

  /// Total seconds that next() has waited for a value.
  double seconds_waited() const { return std::chrono::duration<double>(waited_).count(); }

 private:
  void run() {
    std::size_t slot = 0;
    for (;; slot = (slot + 1) % slots_.size(), ++step_) {
      {
        std::unique_lock lock(mutex_);
        slot_freed_.wait(lock, [this] { return num_filled_slots_ < slots_.size() || stopping_; });
        if (stopping_) return;
      }
      try {
        make_(step_, slots_[slot]);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        failure_ = std::current_exception();
        slot_filled_.notify_one();
        return;
      }
      const std::lock_guard lock(mutex_);
      ++num_filled_slots_;
      slot_filled_.notify_one();
    }
  }

  Make make_;
  std::vector<T>
      slots_;  // ring buffer: `num_filled_slots_` values from index `first_` on are ready or in use
  std::int64_t step_;
  std::size_t first_ = 0, num_filled_slots_ = 0;
  bool in_use_ = false, stopping_ = false;
  std::exception_ptr failure_;
  typename Clock::duration waited_{};
  std::mutex mutex_;
  std::condition_variable slot_freed_, slot_filled_;
  std::thread thread_;
};

}  // namespace offramp::data
