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
image::Image flat_image(int width, int height, std::uint8_t red, std::uint8_t green,
                        std::uint8_t blue);
/// A smooth gradient that differs for each seed.
image::Image patterned_image(int width, int height, int seed);

enum class JpegColour { rgb, gray, cmyk, ycck };

struct JpegOptions {
  JpegColour colour = JpegColour::rgb;
  bool adobe_marker = true;  ///< cmyk only; true: the file stores inverted values
  bool progressive = false;
  int orientation = 0;  ///< EXIF orientation, 1 to 8; 0: no EXIF
  bool big_endian = false;
};

/// Encodes at quality 95 without chroma subsampling.
/// @param samples  [height, width, channels of the colour], as stored in the file
std::vector<std::byte> encode_jpeg(int width, int height, std::span<const std::uint8_t> samples,
                                   const JpegOptions& options = {});
std::vector<std::byte> encode_jpeg(const image::Image& image, const JpegOptions& options = {});

/// A PNG of any kind, also those that encode_png() does not write.
struct PngFile {
  int width = 0, height = 0;
  int colour_type = 0;  ///< PNG_COLOR_TYPE_*
  int bit_depth = 8;
  bool interlaced = false;
  std::vector<std::uint8_t> palette;        ///< red, green, blue of each entry
  std::vector<std::uint8_t> palette_alpha;  ///< tRNS chunk of a palette image: alpha of each entry
  std::vector<int>
      transparent;  ///< tRNS chunk of other images: the grey value, or red, green, blue
  std::vector<std::uint8_t> exif;       ///< eXIf chunk: a TIFF block
  std::vector<std::uint8_t> rows;       ///< pixels as stored in the file, without filter bytes
  std::vector<std::string> texts = {};  ///< zTXt chunks: compressed comments
};
std::vector<std::byte> encode(const PngFile& file);

/// Reads a file of tests/data/images. make_images.py there says how the files, and the pixels that
/// they must give, were made.
std::vector<std::byte> stored_image(const std::string& name);

/// A TIFF block with an orientation tag, in the form that EXIF uses.
std::vector<std::uint8_t> exif_block(int orientation, bool big_endian);

void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes);
std::vector<std::byte> bytes_of(std::string_view text);

struct ArchiveEntry {
  std::string path;
  std::vector<std::byte> bytes;
  std::string link_to;  ///< not empty: the entry is a symbolic link to this path
  bool hard_link = false;
};

/// Writes an archive of the type that the file name ends in: .tar, .tar.gz, .tar.xz or .zip.
/// @param passphrase  not empty: a .zip is encrypted with it
void write_archive(const std::filesystem::path& path, const std::vector<ArchiveEntry>& entries,
                   const std::string& passphrase = {});

/// Compresses bytes into the content of a gzip file.
std::vector<std::byte> gzip(std::span<const std::byte> bytes);

}  // namespace offramp::test
