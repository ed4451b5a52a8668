#pragma once

#include <cstdint>
#include <span>

namespace offramp::policy {

/// The logits of all K exits for N labelled images. The memory belongs to the caller.
struct LogitsView {
  std::span<const float> logits;         ///< [K, N, classes] row-major
  std::span<const std::int64_t> labels;  ///< [N]
  int exits = 0;
  int classes = 0;

  std::int64_t images() const { return static_cast<std::int64_t>(labels.size()); }
  /// [classes] the logits of one exit for one image.
  std::span<const float> at(int exit_index, std::int64_t image) const {
    const auto c = static_cast<std::size_t>(classes);
    return logits.subspan(
        (static_cast<std::size_t>(exit_index) * labels.size() + static_cast<std::size_t>(image)) *
            c,
        c);
  }
};

}  // namespace offramp::policy
