#include "data/augment.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/random.h"

namespace offramp::data {
namespace {

constexpr float kSmallestRatio = 3.0f / 4.0f;
constexpr int kCropAttempts = 10;

void check(const core::Preprocessing& preprocessing, const Augmentation& augmentation) {
  const auto& [crop_padding, flip, cutout, resized_crop] = augmentation;
  if (preprocessing.height < 1 || preprocessing.width < 1) {
    throw UsageError(fmt::format("augmentation: images must have a size: got {}x{}",
                                 preprocessing.height, preprocessing.width));
  }
  for (float std : preprocessing.std) {
    if (!(std > 0)) throw UsageError(fmt::format("augmentation: std must be above 0: got {}", std));
  }
  if (crop_padding < 0 || crop_padding >= std::min(preprocessing.height, preprocessing.width)) {
    throw UsageError(
        fmt::format("augmentation: crop_padding must be from 0 to below the image's side: got {}",
                    crop_padding));
  }
  if (cutout < 0)
    throw UsageError(fmt::format("augmentation: cutout must be 0 or more: got {}", cutout));
  if (!(resized_crop >= 0 && resized_crop <= 1)) {
    throw UsageError(
        fmt::format("augmentation: resized_crop must be from 0 to 1: got {}", resized_crop));
  }
  if (resized_crop > 0 && crop_padding > 0) {
    throw UsageError(
        fmt::format("augmentation: resized_crop and crop_padding exclude each other: got {} and {}",
                    resized_crop, crop_padding));
  }
}

// Draws a box of random area and ratio inside the image, as torchvision does. If none of ten drawn
// boxes fits, the result is the largest centred box with an allowed ratio.
void draw_resized_crop(core::KeyedRandom& random, float smallest_area, int height, int width,
                       AugmentationDraw& draw) {
  const float log_ratio = std::log(kSmallestRatio);
  for (int attempt = 0; attempt < kCropAttempts; ++attempt) {
    const float area = static_cast<float>(height) * static_cast<float>(width) *
                       random.uniform(smallest_area, 1.0f);
    const float ratio = std::exp(random.uniform(log_ratio, -log_ratio));
    const int box_width = static_cast<int>(std::lround(std::sqrt(area * ratio)));
    const int box_height = static_cast<int>(std::lround(std::sqrt(area / ratio)));
    if (box_width < 1 || box_width > width || box_height < 1 || box_height > height) continue;
    draw.width = box_width;
    draw.height = box_height;
    draw.top = static_cast<int>(random.below(static_cast<std::uint64_t>(height - box_height + 1)));
    draw.left = static_cast<int>(random.below(static_cast<std::uint64_t>(width - box_width + 1)));
    return;
  }
  draw.width = std::clamp(static_cast<int>(static_cast<float>(height) / kSmallestRatio), 1, width);
  draw.height = std::clamp(static_cast<int>(static_cast<float>(width) / kSmallestRatio), 1, height);
  draw.top = (height - draw.height) / 2;
  draw.left = (width - draw.width) / 2;
}

}  // namespace

Augmenter::Augmenter(const core::Preprocessing& preprocessing, const Augmentation& augmentation,
                     std::uint64_t seed)
    : augmentation_(augmentation),
      seed_(seed),
      height_(preprocessing.height),
      width_(preprocessing.width) {
  check(preprocessing, augmentation);
  for (std::size_t c = 0; c < 3; ++c) {
    const float mean = preprocessing.mean[c], std = preprocessing.std[c];
    for (std::size_t v = 0; v < 256; ++v) {
      normalised_[c][v] = (static_cast<float>(v) / 255.0f - mean) / std;
    }
    scale_[c] = 1.0f / (255.0f * std);
    shift_[c] = -mean / std;
  }
  if (augmentation_.resized_crop > 0) {
    columns_.resize(static_cast<std::size_t>(width_));
    row_.resize(static_cast<std::size_t>(width_) * 3);
  }
}

AugmentationDraw Augmenter::draw(std::uint64_t epoch, std::uint64_t image) const {
  core::KeyedRandom random(seed_, epoch, image);
  AugmentationDraw draw;
  draw.height = height_;
  draw.width = width_;
  // These numbers are drawn even if cutout is off, so that one setting does not change the numbers
  // that another one draws.
  const auto cutout_row = random.below(static_cast<std::uint64_t>(height_));
  const auto cutout_column = random.below(static_cast<std::uint64_t>(width_));
  const bool flipped_first = core::KeyedRandom(seed_, image).flip();
  draw.flip = augmentation_.flip && flipped_first != (epoch % 2 == 1);
  if (augmentation_.cutout > 0) {
    draw.cutout_top = static_cast<int>(cutout_row) - augmentation_.cutout / 2;
    draw.cutout_left = static_cast<int>(cutout_column) - augmentation_.cutout / 2;
  }
  if (const int padding = augmentation_.crop_padding; padding > 0) {
    const auto offsets = static_cast<std::uint64_t>(2 * padding + 1);
    draw.top = static_cast<int>(random.below(offsets)) - padding;
    draw.left = static_cast<int>(random.below(offsets)) - padding;
  } else if (augmentation_.resized_crop > 0) {
    draw_resized_crop(random, augmentation_.resized_crop, height_, width_, draw);
  }
  return draw;
}

void Augmenter::apply(const AugmentationDraw& draw, std::span<const std::uint8_t> rgb,
                      std::span<float> dst) {
  OFFRAMP_ASSERT(rgb.size() == static_cast<std::size_t>(height_) * width_ * 3);
  OFFRAMP_ASSERT(dst.size() == rgb.size());
  if (draw.height == height_ && draw.width == width_) {
    copy_box(draw, rgb.data(), dst.data());
  } else {
    enlarge_box(draw, rgb.data(), dst.data());
  }
  if (augmentation_.cutout > 0) apply_cutout(draw, dst.data());
}

void Augmenter::copy_box(const AugmentationDraw& draw, const std::uint8_t* rgb, float* dst) const {
  const float* red = normalised_[0].data();
  const float* green = normalised_[1].data();
  const float* blue = normalised_[2].data();
  const auto fill_black = [&](float* begin, int pixels) {
    for (int x = 0; x < pixels; ++x, begin += 3) {
      begin[0] = red[0], begin[1] = green[0], begin[2] = blue[0];
    }
  };
  // The box covers columns first … end - 1 of the image; its other columns are black.
  const int first = std::max(draw.left, 0);
  const int end = std::min(draw.left + width_, width_);
  const int black_before = draw.flip ? draw.left + width_ - end : first - draw.left;
  const int black_after = width_ - (end - first) - black_before;

  for (int y = 0; y < height_; ++y) {
    float* row = dst + static_cast<std::ptrdiff_t>(y) * width_ * 3;
    const int src_y = y + draw.top;
    if (src_y < 0 || src_y >= height_) {
      fill_black(row, width_);
      continue;
    }
    fill_black(row, black_before);
    fill_black(row + static_cast<std::ptrdiff_t>(width_ - black_after) * 3, black_after);
    float* to = row + static_cast<std::ptrdiff_t>(black_before) * 3;
    const std::uint8_t* from =
        rgb + (static_cast<std::ptrdiff_t>(src_y) * width_ + (draw.flip ? end - 1 : first)) * 3;
    const std::ptrdiff_t step = draw.flip ? -3 : 3;
    for (int x = first; x < end; ++x, to += 3, from += step) {
      to[0] = red[from[0]], to[1] = green[from[1]], to[2] = blue[from[2]];
    }
  }
}

Augmenter::Interpolation Augmenter::interpolation_at(int dst_index, int dst_size, int src_size) {
  const float centre = (static_cast<float>(dst_index) + 0.5f) * static_cast<float>(src_size) /
                           static_cast<float>(dst_size) -
                       0.5f;
  const float position = std::clamp(centre, 0.0f, static_cast<float>(src_size - 1));
  const int first = static_cast<int>(position);
  return {first, std::min(first + 1, src_size - 1), position - static_cast<float>(first)};
}

void Augmenter::enlarge_box(const AugmentationDraw& draw, const std::uint8_t* rgb, float* dst) {
  columns_.resize(static_cast<std::size_t>(width_));
  row_.resize(static_cast<std::size_t>(width_) * 3);
  for (int x = 0; x < width_; ++x) {
    Interpolation column = interpolation_at(draw.flip ? width_ - 1 - x : x, width_, draw.width);
    column.first *= 3;
    column.second *= 3;
    columns_[static_cast<std::size_t>(x)] = column;
  }
  const auto src_row = [&](int y) {
    return rgb + (static_cast<std::ptrdiff_t>(draw.top + y) * width_ + draw.left) * 3;
  };
  float* row = row_.data();
  for (int y = 0; y < height_; ++y) {
    const Interpolation between_rows = interpolation_at(y, height_, draw.height);
    const std::uint8_t* upper = src_row(between_rows.first);
    const std::uint8_t* lower = src_row(between_rows.second);
    for (int i = 0; i < draw.width * 3; ++i) {
      const float a = upper[i], b = lower[i];
      row[i] = a + between_rows.share * (b - a);
    }
    for (const Interpolation& column : columns_) {
      for (int c = 0; c < 3; ++c) {
        const float a = row[column.first + c], b = row[column.second + c];
        dst[c] = (a + column.share * (b - a)) * scale_[c] + shift_[c];
      }
      dst += 3;
    }
  }
}

void Augmenter::apply_cutout(const AugmentationDraw& draw, float* dst) const {
  const int top = std::max(draw.cutout_top, 0);
  const int left = std::max(draw.cutout_left, 0);
  const int bottom = std::min(draw.cutout_top + augmentation_.cutout, height_);
  const int right = std::min(draw.cutout_left + augmentation_.cutout, width_);
  // The mean colour has the normalised value 0.
  for (int y = top; y < bottom; ++y) {
    float* row = dst + static_cast<std::ptrdiff_t>(y) * width_ * 3;
    std::fill(row + static_cast<std::ptrdiff_t>(left) * 3,
              row + static_cast<std::ptrdiff_t>(right) * 3, 0.0f);
  }
}

}  // namespace offramp::data
