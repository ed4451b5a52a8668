#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "core/error.h"

namespace offramp::workflow {

/// Thrown by a call that was told to stop. A file that it had not finished is as it was before.
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled") {}
};

/// How a call that takes long tells its caller how far it has come, and learns whether to go on.
/// Each function may be empty; all are called on the thread of the call.
struct Progress {
  /// `done` of `total` images, rows, … are finished.
  std::function<void(std::int64_t done, std::int64_t total, std::string_view unit)> report = {};
  /// True if the call is to end with Cancelled. It is asked between two batches of images.
  std::function<bool()> cancelled = {};
  /// A remark for people, one line without its end: something was done in another way than asked
  /// for, or could not be kept. The same remark may come several times.
  std::function<void(std::string_view line)> note = {};

  /// @throws Cancelled
  void step(std::int64_t done, std::int64_t total, std::string_view unit) const {
    if (report) report(done, total, unit);
    if (cancelled && cancelled()) throw Cancelled();
  }
  void remark(std::string_view line) const {
    if (note) note(line);
  }
};

}  // namespace offramp::workflow
