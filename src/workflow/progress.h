#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "core/error.h"

namespace offramp::workflow {

/// Thrown by a call that was cancelled. A file that it had not finished is unchanged.
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled") {}
};

/// Functions through which a long call reports its progress, and is cancelled. Each may be empty;
/// all are called on the thread that made the call.
struct Progress {
  /// Called when `done` of `total` images, rows or other units are finished.
  std::function<void(std::int64_t done, std::int64_t total, std::string_view unit)> report = {};
  /// Called between two batches of images. If it returns true, the call throws Cancelled.
  std::function<bool()> cancelled = {};
  /// Called with a remark for people, one line without "\n": for example that something was done in
  /// another way than requested, or that a file could not be written. A remark may come repeatedly.
  std::function<void(std::string_view line)> note = {};

  /// Calls `report`, then `cancelled`. @throws Cancelled
  void step(std::int64_t done, std::int64_t total, std::string_view unit) const {
    if (report) report(done, total, unit);
    if (cancelled && cancelled()) throw Cancelled();
  }
  void remark(std::string_view line) const {
    if (note) note(line);
  }
};

}  // namespace offramp::workflow
