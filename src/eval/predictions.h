#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/reliability.h"
#include "policy/logits.h"

namespace offramp::eval {

/// The prediction of one exit for one image.
struct Prediction {
  int answer = 0;         ///< predicted class
  double confidence = 0;  ///< its probability: softmax of z / T
  /// The sum of the other classes' probabilities divided by `confidence`. It sorts predictions
  /// whose confidences all round to 1.
  double odds_against = 0;
};

/// The predictions of every exit for every image, [K, N], at given temperatures.
class Predictions {
 public:
  /// @param view  must stay valid as long as this object  @param temperatures  [K]
  Predictions(const policy::LogitsView& view, std::span<const float> temperatures);

  int exits() const { return view_.exits; }
  std::int64_t images() const { return view_.images(); }
  const Prediction& at(int exit_index, std::int64_t image) const {
    return predictions_[static_cast<std::size_t>(exit_index * images() + image)];
  }
  bool is_correct(int exit_index, std::int64_t image) const {
    return at(exit_index, image).answer == label(image);
  }
  int label(std::int64_t image) const {
    return static_cast<int>(view_.labels[static_cast<std::size_t>(image)]);
  }

 private:
  policy::LogitsView view_;
  std::vector<Prediction> predictions_;
};

/// Returns the confidence and accuracy of one exit, for a reliability diagram.
Reliability reliability(const Predictions& predictions, int exit_index);

/// Counts of images by whether each of two exits classifies them correctly.
struct Flow {
  std::int64_t stays_correct = 0, becomes_wrong = 0, becomes_correct = 0, stays_wrong = 0;
};
Flow flow(const Predictions& predictions, int from_exit, int to_exit);

/// At which exits the images of one class stop.
struct ClassExits {
  int label = 0;
  std::int64_t images = 0;
  std::vector<std::int64_t> stopped;  ///< [K] number of images that stop at exit k
  std::vector<std::int64_t> correct;  ///< [K] number of these images that are classified correctly
  double mean_exit() const;           ///< mean exit index, 0-based; -1 without images
};
/// Counts the exits of each class. @param exit_index, answers  [N] where each image stopped and the
/// class predicted there  @return [classes]
std::vector<ClassExits> exits_by_class(const policy::LogitsView& view,
                                       std::span<const int> exit_index,
                                       std::span<const std::int64_t> answers);

// The following functions select images for the galleries of a report. They return at most `most`
// image indices; of equal images, those with the lower index come first.

/// Returns the images that an exit classifies correctly (or wrongly, if `correct` is false), the
/// most confident first.
/// @param most_of_class  images of one class at most; 0: no limit
std::vector<std::int64_t> most_confident(const Predictions& predictions, int exit_index,
                                         bool correct, int most, int most_of_class = 0);
/// Returns the images that an earlier exit classifies correctly and the last exit wrongly, sorted
/// by the highest confidence among their correct exits.
std::vector<std::int64_t> destructive_images(const Predictions& predictions, int most);

}  // namespace offramp::eval
