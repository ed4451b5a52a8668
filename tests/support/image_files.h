#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "image/image.h"

namespace offramp::test {

/// An image of one colour.
Image flat_image(int width, int height, std::uint8_t red, std::uint8_t green, std::uint8_t blue);
/// An image unlike that of any other seed: a smooth gradient with a seed of its own.
Image patterned_image(int width, int height, int seed);

enum class JpegColour { rgb, gray, cmyk, ycck };

struct JpegOptions {
  JpegColour colour = JpegColour::rgb;
  bool adobe_marker = true;  ///< cmyk only: without it, values are ink and not its inverse
  bool progressive = false;
  int orientation = 0;  ///< EXIF; 0: none
  bool big_endian = false;
};

/// Encodes at quality 95 without chroma subsampling.
/// @param samples  [height, width, channels of the colour], as stored in the file
std::vector<std::byte> encode_jpeg(int width, int height, std::span<const std::uint8_t> samples,
                                   const JpegOptions& options = {});
std::vector<std::byte> encode_jpeg(const Image& image, const JpegOptions& options = {});

/// A PNG of any kind, for what encode_png does not write.
struct PngFile {
  int width = 0, height = 0;
  int colour_type = 0;  ///< PNG_COLOR_TYPE_*
  int bit_depth = 8;
  bool interlaced = false;
  std::vector<std::uint8_t> palette;        ///< red, green, blue of each entry
  std::vector<std::uint8_t> palette_alpha;  ///< tRNS of a palette
  std::vector<int> transparent;             ///< tRNS: the grey, or red, green and blue
  std::vector<std::uint8_t> exif;           ///< eXIf: a TIFF block
  std::vector<std::uint8_t> rows;           ///< as stored, without filter bytes
};
std::vector<std::byte> encode(const PngFile& file);

/// A TIFF block with an orientation tag, as EXIF has it.
std::vector<std::uint8_t> exif_block(int orientation, bool big_endian);

void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes);
std::vector<std::byte> bytes_of(std::string_view text);

struct ArchiveEntry {
  std::string path;
  std::vector<std::byte> bytes;
  std::string link_to;  ///< not empty: a symbolic link
  bool hard_link = false;
};

/// Writes a .tar, .tar.gz, .tar.xz or .zip, by the name's ending.
/// @param passphrase  not empty: encrypts a .zip
void write_archive(const std::filesystem::path& path, const std::vector<ArchiveEntry>& entries,
                   const std::string& passphrase = {});

/// A gzip file of these bytes.
std::vector<std::byte> gzip(std::span<const std::byte> bytes);

}  // namespace offramp::test
