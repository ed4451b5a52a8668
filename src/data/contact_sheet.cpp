#include "data/contact_sheet.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "image/bitmap_text.h"

namespace offramp::data {
namespace {

constexpr int kCell = 64;
constexpr int kGap = 4;
constexpr int kTextScale = 2;
constexpr int kTextHeight = image::kCharacterHeight * kTextScale;
constexpr int kRow = kTextHeight + kCell + 3 * kGap;
constexpr std::size_t kMaxClasses = 100;

/// Scales an image to fit a cell. A small image is enlarged by a whole factor without
/// interpolation, so that the cell shows the pixels that the network receives.
image::Image fit_to_cell(std::span<const std::uint8_t> rgb, int width, int height) {
  image::Image image{width, height, {rgb.begin(), rgb.end()}};
  const int longer = std::max(width, height);
  if (longer > kCell) {
    const auto scaled = [longer](int side) {
      return std::max(1, static_cast<int>(std::lround(static_cast<double>(side) * kCell / longer)));
    };
    return image::resize(image, scaled(width), scaled(height), core::Fit::squeeze);
  }
  const int factor = kCell / longer;
  image::Image larger{width * factor, height * factor, {}};
  larger.rgb.reserve(static_cast<std::size_t>(larger.width) * larger.height * 3);
  for (int y = 0; y < larger.height; ++y) {
    for (int x = 0; x < larger.width; ++x) {
      const std::ptrdiff_t src = (std::ptrdiff_t{y / factor} * width + x / factor) * 3;
      larger.rgb.insert(larger.rgb.end(), image.rgb.begin() + src, image.rgb.begin() + src + 3);
    }
  }
  return larger;
}

void paste(const image::Image& image, int x, int y, image::Image& sheet) {
  for (int row = 0; row < image.height; ++row) {
    std::copy_n(image.rgb.begin() + std::ptrdiff_t{row} * image.width * 3, image.width * 3,
                sheet.rgb.begin() + (std::ptrdiff_t{y + row} * sheet.width + x) * 3);
  }
}

}  // namespace

image::Image contact_sheet(const Dataset& dataset, int images_per_class) {
  OFFRAMP_ASSERT(images_per_class > 0);
  const std::size_t classes = std::min(kMaxClasses, dataset.classes.size());
  std::vector<std::vector<std::int64_t>> images_of_class(dataset.classes.size());
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    images_of_class[static_cast<std::size_t>(dataset.labels[static_cast<std::size_t>(i)])]
        .push_back(i);
  }
  image::Image sheet;
  sheet.width = kGap + images_per_class * (kCell + kGap);
  sheet.height = kGap + static_cast<int>(classes) * kRow;
  sheet.rgb.assign(static_cast<std::size_t>(sheet.width) * sheet.height * 3, 255);
  for (std::size_t label = 0; label < classes; ++label) {
    const int top = kGap + static_cast<int>(label) * kRow;
    image::draw_text(sheet, kGap, top, dataset.classes[label], kTextScale);
    const auto count =
        std::min(images_of_class[label].size(), static_cast<std::size_t>(images_per_class));
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t index = images_of_class[label][i * images_of_class[label].size() / count];
      const image::Image cell = fit_to_cell(dataset.image(index), dataset.width, dataset.height);
      paste(cell, kGap + static_cast<int>(i) * (kCell + kGap) + (kCell - cell.width) / 2,
            top + kTextHeight + (kCell - cell.height) / 2, sheet);
    }
  }
  return sheet;
}

}  // namespace offramp::data
