#include "core/predictor.h"

#include <algorithm>

namespace offramp::core {

std::vector<float> Predictor::predict_all(std::span<const float> images) {
  const auto count = static_cast<std::int64_t>(images.size()) / image_size();
  const std::int64_t classes = num_classes();
  std::vector<float> logits(static_cast<std::size_t>(num_exits() * count * classes));
  run(images, [&](std::int64_t image, const ExitOutput& output) {
    std::ranges::copy(output.logits,
                      logits.begin() + (output.exit_index * count + image) * classes);
    return false;
  });
  return logits;
}

StoppedImages Predictor::predict_until(std::span<const float> images, const ExitVisitor& visit) {
  const auto count = static_cast<std::int64_t>(images.size()) / image_size();
  const std::int64_t classes = num_classes();
  const int last = num_exits() - 1;
  StoppedImages stopped{std::vector<int>(static_cast<std::size_t>(count)),
                        std::vector<float>(static_cast<std::size_t>(count * classes))};
  run(images, [&](std::int64_t image, const ExitOutput& output) {
    if (!visit(image, output) && output.exit_index < last) return false;
    stopped.exit_index[static_cast<std::size_t>(image)] = output.exit_index;
    std::ranges::copy(output.logits, stopped.logits.begin() + image * classes);
    return true;
  });
  return stopped;
}

}  // namespace offramp::core
