#include <array>

#include "core/error.h"
#include "image/image.h"

namespace offramp::image {

void normalise(std::span<const std::uint8_t> rgb, const core::Preprocessing& preprocessing,
               std::span<float> dst) {
  OFFRAMP_ASSERT(rgb.size() == dst.size() && rgb.size() % 3 == 0);
  const std::size_t pixels = rgb.size() / 3;
  for (std::size_t c = 0; c < 3; ++c) {
    std::array<float, 256> value;
    for (std::size_t v = 0; v < value.size(); ++v) {
      value[v] = (static_cast<float>(v) / 255.0f - preprocessing.mean[c]) / preprocessing.std[c];
    }
    float* plane = dst.data() + c * pixels;
    for (std::size_t i = 0; i < pixels; ++i) plane[i] = value[rgb[i * 3 + c]];
  }
}

void to_input(const Image& image, const core::Preprocessing& preprocessing, std::span<float> dst) {
  if (image.width == preprocessing.width && image.height == preprocessing.height) {
    normalise(image.rgb, preprocessing, dst);
    return;
  }
  normalise(resize(image, preprocessing.width, preprocessing.height, preprocessing.fit).rgb,
            preprocessing, dst);
}

}  // namespace offramp::image
