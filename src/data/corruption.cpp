#include "data/corruption.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <span>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace offramp::data {
namespace {

struct KnownCorruption {
  std::string_view name;
  CorruptionKind kind;
  std::array<double, 5> strengths;  // strength at each severity, from make_cifar_c.py
};
constexpr std::array<KnownCorruption, 4> kCorruptions = {{
    {"gaussian_noise", CorruptionKind::gaussian_noise, {0.04, 0.06, 0.08, 0.09, 0.10}},
    {"gaussian_blur", CorruptionKind::gaussian_blur, {0.4, 0.6, 0.7, 0.8, 1.0}},
    {"brightness", CorruptionKind::brightness, {0.05, 0.1, 0.15, 0.2, 0.3}},
    {"contrast", CorruptionKind::contrast, {0.75, 0.5, 0.4, 0.3, 0.15}},
}};

/// Pixel values [height, width, 3]; 0 is black and 1 is full intensity. They may leave [0, 1] until
/// they are clamped.
using Values = std::vector<double>;

void add_noise(Values& values, double deviation, std::uint64_t seed) {
  core::KeyedRandom random(seed, 0);
  for (std::size_t i = 0; i < values.size(); i += 2) {
    // The Box-Muller transform makes two normal numbers from two uniform ones.
    const double radius = std::sqrt(-2 * std::log(1 - static_cast<double>(random.uniform())));
    const double angle = 2 * std::numbers::pi * static_cast<double>(random.uniform());
    values[i] += deviation * radius * std::cos(angle);
    if (i + 1 < values.size()) values[i + 1] += deviation * radius * std::sin(angle);
  }
}

/// Returns a Gaussian kernel [2 * radius + 1] with sum 1. It ends at four standard deviations, as
/// in SciPy.
std::vector<double> gaussian_kernel(double deviation) {
  const int radius = static_cast<int>(4 * deviation + 0.5);
  std::vector<double> kernel;
  double sum = 0;
  for (int x = -radius; x <= radius; ++x)
    sum += kernel.emplace_back(std::exp(-x * x / (2 * deviation * deviation)));
  for (double& weight : kernel) weight /= sum;
  return kernel;
}

/// Convolves `count` values that lie `stride` apart with the kernel. The first and the last value
/// are repeated beyond the ends.
void blur_line(std::span<double> line, std::size_t count, std::size_t stride,
               std::span<const double> kernel) {
  const auto last = static_cast<std::ptrdiff_t>(count) - 1;
  const auto radius = static_cast<std::ptrdiff_t>(kernel.size() / 2);
  std::vector<double> src(count);
  for (std::size_t i = 0; i < count; ++i) src[i] = line[i * stride];
  for (std::ptrdiff_t i = 0; i <= last; ++i) {
    double sum = 0;
    for (std::ptrdiff_t k = -radius; k <= radius; ++k)
      sum += kernel[static_cast<std::size_t>(k + radius)] *
             src[static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(i + k, 0, last))];
    line[static_cast<std::size_t>(i) * stride] = sum;
  }
}

void blur(Values& values, std::size_t width, std::size_t height, double deviation) {
  const std::vector<double> kernel = gaussian_kernel(deviation);
  const std::span all = values;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t y = 0; y < height; ++y)
      blur_line(all.subspan(y * width * 3 + c), width, 3, kernel);
    for (std::size_t x = 0; x < width; ++x)
      blur_line(all.subspan(x * 3 + c), height, width * 3, kernel);
  }
}

/// Adds `by` to the V of HSV, which is the largest of the three channels. Scaling all channels by
/// one factor keeps hue and saturation.
void brighten(Values& values, double by) {
  for (std::size_t i = 0; i < values.size(); i += 3) {
    const std::span pixel(values.data() + i, 3);
    const double value = *std::ranges::max_element(pixel);
    const double target = std::min(1.0, value + by);
    for (double& v : pixel) v = value > 0 ? v * target / value : target;
  }
}

void reduce_contrast(Values& values, double to) {
  std::array<double, 3> mean{};
  for (std::size_t i = 0; i < values.size(); ++i) mean[i % 3] += values[i];
  const std::size_t pixels = values.size() / 3;
  for (double& m : mean) m /= static_cast<double>(pixels);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = (values[i] - mean[i % 3]) * to + mean[i % 3];
}

}  // namespace

Corruption parse_corruption(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const auto entry = std::ranges::find(kCorruptions, name, &KnownCorruption::name);
  if (entry == kCorruptions.end()) {
    std::string known;
    for (const KnownCorruption& one : kCorruptions)
      known += (known.empty() ? "" : ", ") + std::string(one.name);
    throw UsageError(fmt::format("unknown corruption \"{}\"; expected one of {}", name, known));
  }
  const std::string severity = colon == text.npos ? "" : text.substr(colon + 1);
  if (severity.size() != 1 || severity[0] < '1' || severity[0] > '5')
    throw UsageError(
        fmt::format("{}: expected a severity from 1 to 5, as in \"{}:3\"", text, name));
  return {entry->kind, severity[0] - '0'};
}

image::Image corrupt(const image::Image& image, const Corruption& corruption, std::uint64_t seed) {
  const auto entry = std::ranges::find(kCorruptions, corruption.kind, &KnownCorruption::kind);
  OFFRAMP_ASSERT(entry != kCorruptions.end() && corruption.severity >= 1 &&
                 corruption.severity <= 5);
  const double strength = entry->strengths[static_cast<std::size_t>(corruption.severity - 1)];
  Values values;
  for (const std::uint8_t byte : image.rgb) values.push_back(byte / 255.0);
  switch (corruption.kind) {
    case CorruptionKind::gaussian_noise:
      add_noise(values, strength, seed);
      break;
    case CorruptionKind::gaussian_blur:
      blur(values, static_cast<std::size_t>(image.width), static_cast<std::size_t>(image.height),
           strength);
      break;
    case CorruptionKind::brightness:
      brighten(values, strength);
      break;
    case CorruptionKind::contrast:
      reduce_contrast(values, strength);
      break;
  }
  image::Image result = {image.width, image.height, {}};
  for (const double value : values)
    result.rgb.push_back(static_cast<std::uint8_t>(std::clamp(value, 0.0, 1.0) * 255 + 0.5));
  return result;
}

}  // namespace offramp::data
