#pragma once

#include <cstdint>
#include <span>

namespace offramp {

/// Logits of all exits on labelled images: [K, N, classes] row-major. A view.
struct LogitsView {
  std::span<const float> logits;
  std::span<const std::int64_t> labels;  ///< [N]
  int exits = 0;
  int classes = 0;

  std::int64_t images() const { return static_cast<std::int64_t>(labels.size()); }
  std::span<const float> at(int exit_index, std::int64_t image) const {
    const auto c = static_cast<std::size_t>(classes);
    return logits.subspan(
        (static_cast<std::size_t>(exit_index) * labels.size() + static_cast<std::size_t>(image)) *
            c,
        c);
  }
};

}  // namespace offramp
