#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace offramp::serve {

/// A limit on the bytes that all current requests hold together. Thread-safe.
class Budget {
 public:
  explicit Budget(std::size_t limit) : limit_(limit) {}
  /// @return whether there was room; only then are the bytes taken
  bool take(std::size_t bytes) noexcept {
    if (used_.fetch_add(bytes) + bytes <= limit_) return true;
    used_.fetch_sub(bytes);
    return false;
  }
  void give_back(std::size_t bytes) noexcept { used_.fetch_sub(bytes); }
  std::size_t used() const noexcept { return used_.load(); }

 private:
  const std::size_t limit_;
  std::atomic<std::size_t> used_ = 0;
};

/// Bytes that are reserved from a budget until this object is destroyed. Movable. An empty
/// reservation holds none.
class Reservation {
 public:
  Reservation() = default;
  explicit Reservation(std::shared_ptr<Budget> budget) : budget_(std::move(budget)) {}
  Reservation(Reservation&& other) noexcept
      : budget_(std::move(other.budget_)), taken_(std::exchange(other.taken_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(taken_, other.taken_);
    return *this;
  }
  ~Reservation() {
    if (budget_) budget_->give_back(taken_);
  }
  /// Reserves `bytes` more. @return false if there was no room; nothing is reserved then
  bool take(std::size_t bytes) noexcept {
    if (!budget_) return true;
    if (!budget_->take(bytes)) return false;
    taken_ += bytes;
    return true;
  }
  std::size_t bytes() const { return taken_; }
  const std::shared_ptr<Budget>& budget() const { return budget_; }

 private:
  std::shared_ptr<Budget> budget_;
  std::size_t taken_ = 0;
};

/// The body of a request. Its memory is counted in a budget until it is destroyed. Movable.
class Body {
 public:
  Body() = default;
  explicit Body(std::string text) : text_(std::move(text)) {}

  /// Makes append() reserve what it adds from `budget`. REQUIRES: the body is empty.
  void use(std::shared_ptr<Budget> budget) { memory_ = Reservation(std::move(budget)); }
  /// @return false if the budget has no room for the data; the body is then unchanged
  bool append(const char* data, std::size_t size) {
    const std::size_t needed = text_.size() + size;
    if (needed > text_.capacity()) {
      // The string doubles its memory, so the capacity it will have is counted, not the size of the
      // data.
      const std::size_t capacity =
          std::max(needed, std::max<std::size_t>(2 * text_.capacity(), 512));
      if (!memory_.take(capacity - memory_.bytes())) return false;
      text_.reserve(capacity);
    }
    text_.append(data, size);
    return true;
  }
  /// The budget from which the body reserves its memory; null: none.
  const std::shared_ptr<Budget>& budget() const { return memory_.budget(); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  Reservation memory_;
};

}  // namespace offramp::serve
