#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "core/error.h"
#include "image/image.h"

// Any bytes are either decoded and converted to a network's input, or refused with an Error. The
// first byte selects how the image is resized.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace offramp;
  if (size == 0) return 0;
  core::Preprocessing preprocessing;
  preprocessing.width = 1 + (data[0] & 31);
  preprocessing.height = 1 + (data[0] >> 3);
  preprocessing.fit = data[0] % 2 == 0 ? core::Fit::crop : core::Fit::squeeze;
  image::DecodeLimits limits;
  limits.max_pixels = 1 << 20;
  try {
    const image::Image image =
        image::decode_image(std::as_bytes(std::span(data + 1, size - 1)), limits);
    const auto pixels = static_cast<std::int64_t>(image.width) * image.height;
    if (image.width < 1 || image.height < 1 || pixels > limits.max_pixels ||
        image.rgb.size() != 3 * static_cast<std::size_t>(pixels))
      std::abort();
    std::vector<float> input(
        static_cast<std::size_t>(3 * preprocessing.width * preprocessing.height));
    image::to_input(image, preprocessing, input);
    if (!std::all_of(input.begin(), input.end(), [](float x) { return x == x; })) std::abort();
  } catch (const Error& error) {
    if (std::strchr(error.what(), '\n') != nullptr || *error.what() == '\0') std::abort();
  }
  return 0;
}
