#include <cstring>
#include <utility>

#include "image/codec.h"

namespace offramp::image::detail {
namespace {

// Reads unsigned numbers in the byte order of a TIFF block. Bytes beyond the end are read as 0.
class TiffReader {
 public:
  explicit TiffReader(std::span<const std::byte> bytes) : bytes_(bytes) {
    big_endian_ = at(0) == 'M';
  }
  std::uint32_t u16(std::size_t offset) const {
    return big_endian_ ? at(offset) << 8 | at(offset + 1) : at(offset + 1) << 8 | at(offset);
  }
  std::uint32_t u32(std::size_t offset) const {
    return big_endian_ ? u16(offset) << 16 | u16(offset + 2) : u16(offset + 2) << 16 | u16(offset);
  }

 private:
  std::uint32_t at(std::size_t offset) const {
    return offset < bytes_.size() ? std::to_integer<std::uint32_t>(bytes_[offset]) : 0;
  }
  std::span<const std::byte> bytes_;
  bool big_endian_ = false;
};

}  // namespace

int exif_orientation(std::span<const std::byte> tiff) {
  constexpr std::size_t kHeader = 8;
  constexpr std::size_t kEntry = 12;
  constexpr std::uint32_t kOrientationTag = 0x0112;
  constexpr std::uint32_t kShort = 3;
  if (tiff.size() < kHeader) return 1;
  if (std::memcmp(tiff.data(), "II", 2) != 0 && std::memcmp(tiff.data(), "MM", 2) != 0) return 1;
  const TiffReader reader(tiff);
  if (reader.u16(2) != 42) return 1;
  const std::size_t directory = reader.u32(4);
  if (directory < kHeader || directory + 2 > tiff.size()) return 1;
  const std::size_t entries = reader.u16(directory);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntry;
    if (entry + kEntry > tiff.size()) return 1;
    if (reader.u16(entry) != kOrientationTag) continue;
    if (reader.u16(entry + 2) != kShort || reader.u32(entry + 4) != 1) return 1;
    const std::uint32_t value = reader.u16(entry + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const std::int64_t width = image.width;
  const std::int64_t height = image.height;
  // `start` is the stored index of pixel (0, 0) of the upright image; `step_x` and `step_y` are the
  // changes of the stored index for one pixel to the right and one pixel down. Orientations 5 to 8
  // swap width and height.
  const std::int64_t right_edge = width - 1;
  const std::int64_t bottom = (height - 1) * width;
  std::int64_t start = 0, step_x = 1, step_y = width;
  switch (orientation) {
    case 2:
      start = right_edge, step_x = -1;
      break;
    case 3:
      start = bottom + right_edge, step_x = -1, step_y = -width;
      break;
    case 4:
      start = bottom, step_y = -width;
      break;
    case 5:
      step_x = width, step_y = 1;
      break;
    case 6:
      start = bottom, step_x = -width, step_y = 1;
      break;
    case 7:
      start = bottom + right_edge, step_x = -width, step_y = -1;
      break;
    case 8:
      start = right_edge, step_x = width, step_y = -1;
      break;
    default:
      break;
  }
  Image turned;
  turned.width = orientation >= 5 ? image.height : image.width;
  turned.height = orientation >= 5 ? image.width : image.height;
  turned.rgb.resize(image.rgb.size());
  std::uint8_t* dst = turned.rgb.data();
  for (int y = 0; y < turned.height; ++y) {
    const std::uint8_t* src = image.rgb.data() + (start + y * step_y) * 3;
    for (int x = 0; x < turned.width; ++x, dst += 3) {
      // Each address is computed from `src`: a pointer that is decremented would end up before the
      // start of the array, which is undefined behaviour.
      const std::uint8_t* pixel = src + x * step_x * 3;
      dst[0] = pixel[0], dst[1] = pixel[1], dst[2] = pixel[2];
    }
  }
  return turned;
}

}  // namespace offramp::image::detail
