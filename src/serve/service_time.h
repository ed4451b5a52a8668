#pragma once

#include <chrono>

namespace offramp::serve {

/// Measures how long a model takes for an image while it has images: the time with images, divided
/// by the number of images that it ran, over periods of 100 ms or more of such time. Not
/// thread-safe.
class ServiceTime {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Milliseconds = std::chrono::duration<double, std::milli>;

  /// Says that the model has images from now on.
  void begin_busy(TimePoint now) { since_ = now; }
  /// Says that it has none any more.
  void end_busy(TimePoint now) { busy_ += now - since_; }
  /// Says that an image has left the model, which has had images since begin_busy().
  /// @param was_run  false if the network was not run for it
  void add_image(TimePoint now, bool was_run) {
    images_ += was_run ? 1 : 0;
    const Milliseconds busy = busy_ + (now - since_);
    if (busy < kPeriod) return;
    if (images_ > 0) ms_per_image_ = busy.count() / images_;
    busy_ = {};
    since_ = now;
    images_ = 0;
  }
  /// The milliseconds per image of the last period; 0 before the end of the first.
  double ms_per_image() const { return ms_per_image_; }

 private:
  static constexpr Milliseconds kPeriod{100};
  Milliseconds busy_{0};  ///< time with images in this period, before since_
  TimePoint since_;
  int images_ = 0;  ///< images that were run in this period
  double ms_per_image_ = 0;
};

}  // namespace offramp::serve
