#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/reliability.h"
#include "policy/logits.h"

namespace offramp {

/// What one exit says of one image.
struct Reading {
  int answer = 0;
  double confidence = 0;  ///< softmax of z / T at the answer
  /// The other classes' probability over the answer's: orders confidences that all round to 1.
  double doubt = 0;
};

/// What every exit says of every image, at given temperatures. [K, N]
class Readings {
 public:
  /// @param temperatures  [K]
  Readings(const LogitsView& view, std::span<const float> temperatures);

  int exits() const { return view_.exits; }
  std::int64_t images() const { return view_.images(); }
  const Reading& at(int exit_index, std::int64_t image) const {
    return readings_[static_cast<std::size_t>(exit_index * images() + image)];
  }
  bool right(int exit_index, std::int64_t image) const {
    return at(exit_index, image).answer == label(image);
  }
  int label(std::int64_t image) const {
    return static_cast<int>(view_.labels[static_cast<std::size_t>(image)]);
  }

 private:
  LogitsView view_;
  std::vector<Reading> readings_;
};

/// Confidence against accuracy of one exit.
Reliability reliability(const Readings& readings, int exit_index);

/// What becomes of images between two exits.
struct Flow {
  std::int64_t stays_right = 0, gets_wrong = 0, gets_right = 0, stays_wrong = 0;
};
Flow flow(const Readings& readings, int from_exit, int to_exit);

/// Where the images of one class leave.
struct ClassLeaving {
  int label = 0;
  std::int64_t images = 0;
  std::vector<std::int64_t> left;   ///< [K]
  std::vector<std::int64_t> right;  ///< [K] of those, named rightly there
  double mean_exit() const;         ///< 0-based; -1 without images
};
/// One per class, in order. @param exit_index, answers  [N]
std::vector<ClassLeaving> leaving_by_class(const LogitsView& view, std::span<const int> exit_index,
                                           std::span<const std::int64_t> answers);

// Galleries: at most `most` images, ties in order of the images.

/// Named rightly (or wrongly) at an exit, the most confident first.
std::vector<std::int64_t> most_confident(const Readings& readings, int exit_index, bool right,
                                         int most);
/// Named rightly at an earlier exit and wrongly at the last; the most confident of the earlier
/// exits that are right decides.
std::vector<std::int64_t> overthought(const Readings& readings, int most);

}  // namespace offramp
