#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "image/image.h"

namespace offramp::image {
namespace {

// Weights are fixed-point numbers and the rows between the two passes have 8 bits, as in PIL, so
// the results are bit-equal to PIL's BILINEAR. Integer arithmetic gives the same results on every
// machine.
constexpr int kFractionBits = 22;

// The input positions that contribute to each output position, and their weights.
struct Taps {
  int per_output = 0;                 // largest number of input positions
  std::vector<int> first, count;      // [outputs] first input position, number of input positions
  std::vector<std::int32_t> weights;  // [outputs, per_output]
};

/// Computes the taps of output positions begin … begin + count - 1, where `in` positions are
/// resized to `out` positions.
Taps make_taps(int in, std::int64_t out, std::int64_t begin, int count) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(scale, 1.0);  // half the width of the triangle
  Taps taps;
  taps.per_output = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.first.resize(static_cast<std::size_t>(count));
  taps.count.resize(static_cast<std::size_t>(count));
  taps.weights.assign(static_cast<std::size_t>(count) * static_cast<std::size_t>(taps.per_output),
                      0);
  std::vector<double> weights(static_cast<std::size_t>(taps.per_output));
  for (int i = 0; i < count; ++i) {
    const double center = (static_cast<double>(begin + i) + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int last = std::min(in, static_cast<int>(center + support + 0.5));
    double sum = 0;
    for (int x = first; x < last; ++x) {
      const double distance = std::abs((x - center + 0.5) / support);
      sum += weights[static_cast<std::size_t>(x - first)] = std::max(0.0, 1.0 - distance);
    }
    taps.first[static_cast<std::size_t>(i)] = first;
    taps.count[static_cast<std::size_t>(i)] = last - first;
    for (int x = 0; x < last - first; ++x) {
      const double weight = weights[static_cast<std::size_t>(x)] / sum;
      taps.weights[static_cast<std::size_t>(i) * static_cast<std::size_t>(taps.per_output) +
                   static_cast<std::size_t>(x)] =
          static_cast<std::int32_t>(0.5 + weight * (1 << kFractionBits));
    }
  }
  return taps;
}

std::uint8_t round_off(std::int64_t sum) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> kFractionBits, 0, 255));
}

constexpr std::int64_t kHalf = std::int64_t{1} << (kFractionBits - 1);

/// Along one axis, the size `full` that the whole image is resized to, and the position `begin` of
/// the result in it.
struct Axis {
  std::int64_t full;
  std::int64_t begin;
};

/// Resizes rows first_row … first_row + rows - 1 of `image` to `width` columns.
std::vector<std::uint8_t> resample_rows(const Image& image, const Axis& axis, int width,
                                        int first_row, int rows) {
  const Taps taps = make_taps(image.width, axis.full, axis.begin, width);
  std::vector<std::uint8_t> result(static_cast<std::size_t>(width) *
                                   static_cast<std::size_t>(rows) * 3);
  std::uint8_t* dst = result.data();
  for (int y = 0; y < rows; ++y) {
    const std::uint8_t* row = image.rgb.data() + static_cast<std::size_t>(first_row + y) *
                                                     static_cast<std::size_t>(image.width) * 3;
    for (int x = 0; x < width; ++x, dst += 3) {
      const auto i = static_cast<std::size_t>(x);
      const std::uint8_t* src = row + static_cast<std::size_t>(taps.first[i]) * 3;
      const std::int32_t* weight =
          taps.weights.data() + i * static_cast<std::size_t>(taps.per_output);
      std::int64_t red = kHalf, green = kHalf, blue = kHalf;
      for (int t = 0; t < taps.count[i]; ++t, src += 3) {
        const std::int64_t w = weight[t];
        red += w * src[0], green += w * src[1], blue += w * src[2];
      }
      dst[0] = round_off(red), dst[1] = round_off(green), dst[2] = round_off(blue);
    }
  }
  return result;
}

/// Resizes the image along both axes to `width` columns and `height` rows.
Image resample(const Image& image, int width, int height, const Axis& horizontal,
               const Axis& vertical) {
  const Taps taps = make_taps(image.height, vertical.full, vertical.begin, height);
  const int first_row = taps.first.front();
  const int rows = taps.first.back() + taps.count.back() - first_row;
  const std::vector<std::uint8_t> resized_rows =
      resample_rows(image, horizontal, width, first_row, rows);
  Image result;
  result.width = width;
  result.height = height;
  const std::size_t row_bytes = static_cast<std::size_t>(width) * 3;
  result.rgb.resize(row_bytes * static_cast<std::size_t>(height));
  std::vector<std::int64_t> sums(row_bytes);
  for (int y = 0; y < height; ++y) {
    const auto i = static_cast<std::size_t>(y);
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int t = 0; t < taps.count[i]; ++t) {
      const std::int64_t w =
          taps.weights[i * static_cast<std::size_t>(taps.per_output) + static_cast<std::size_t>(t)];
      const std::uint8_t* src =
          resized_rows.data() + static_cast<std::size_t>(taps.first[i] - first_row + t) * row_bytes;
      for (std::size_t x = 0; x < row_bytes; ++x) sums[x] += w * src[x];
    }
    std::uint8_t* dst = result.rgb.data() + i * row_bytes;
    for (std::size_t x = 0; x < row_bytes; ++x) dst[x] = round_off(sums[x]);
  }
  return result;
}

}  // namespace

Image resize(const Image& image, int width, int height, core::Fit fit) {
  OFFRAMP_ASSERT(width > 0 && height > 0 && image.width > 0 && image.height > 0);
  if (image.width == width && image.height == height) return image;
  Axis horizontal{width, 0};
  Axis vertical{height, 0};
  if (fit == core::Fit::crop) {
    // Only the part that remains after cropping is computed, so a very long image needs no more
    // time.
    const double scale = std::max(static_cast<double>(width) / image.width,
                                  static_cast<double>(height) / image.height);
    const auto full = [scale](int side, int target) {
      return std::max<std::int64_t>(target, std::llround(side * scale));
    };
    horizontal.full = full(image.width, width);
    vertical.full = full(image.height, height);
    horizontal.begin = (horizontal.full - width) / 2;
    vertical.begin = (vertical.full - height) / 2;
  }
  return resample(image, width, height, horizontal, vertical);
}

}  // namespace offramp::image
