#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include <jpeglib.h>

// jerror.h needs the definitions of jpeglib.h.
#include <jerror.h>

#include "core/error.h"
#include "image/codec.h"

namespace offramp::image::detail {
namespace {

// libjpeg reports an error by calling a function that must not return, which here uses longjmp. The
// jump skips only stack frames of libjpeg and of the static functions below, none of which has a
// local variable with a destructor.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
  bool truncated;
  bool damaged;
};

ErrorManager& errors_of(j_common_ptr common) {
  return *reinterpret_cast<ErrorManager*>(common->err);
}

[[noreturn]] void on_error(j_common_ptr common) {
  ErrorManager& errors = errors_of(common);
  errors.base.format_message(common, errors.message);
  std::longjmp(errors.jump, 1);
}

void on_message(j_common_ptr common, int level) {
  if (level >= 0) return;
  ErrorManager& errors = errors_of(common);
  if (errors.truncated || errors.damaged) return;
  switch (errors.base.msg_code) {
    case JWRN_JPEG_EOF:
      errors.truncated = true;
      break;
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
      errors.damaged = true;
      break;
    // Other warnings (an unknown JFIF revision, padding before a marker) do not affect the pixels.
    default:
      return;
  }
  errors.base.format_message(common, errors.message);
}

void no_output(j_common_ptr) {}

// A file of a few kilobytes can hold so many progressive scans that decoding takes minutes.
// Encoders write no more than about a dozen. The more pixels a scan has, the fewer are allowed.
int max_scans(const jpeg_decompress_struct& decompress) {
  constexpr std::int64_t kFewest = 20, kMost = 100, kPixels = std::int64_t{1} << 30;
  const std::int64_t pixels =
      std::int64_t{decompress.image_width} * std::int64_t{decompress.image_height};
  return static_cast<int>(std::clamp(kPixels / std::max<std::int64_t>(pixels, 1), kFewest, kMost));
}

void limit_scans(j_common_ptr common) {
  if (common->is_decompressor == 0) return;
  const auto& decompress = *reinterpret_cast<j_decompress_ptr>(common);
  const int limit = max_scans(decompress);
  if (decompress.input_scan_number > limit) {
    ErrorManager& errors = errors_of(common);
    std::snprintf(errors.message, sizeof errors.message, "more than %d scans of an image of %ux%u",
                  limit, decompress.image_width, decompress.image_height);
    std::longjmp(errors.jump, 1);
  }
}

// Refuses a file that cannot hold its pixels before memory for them is allocated. Huffman codes
// need at least one bit for each block of 8x8 pixels of the first component.
void check_length(const jpeg_decompress_struct& decompress, std::size_t bytes) {
  if (decompress.arith_code != 0) return;
  const jpeg_component_info& first = decompress.comp_info[0];
  const std::int64_t blocks = std::int64_t{decompress.image_width} * first.h_samp_factor /
                              decompress.max_h_samp_factor / 8 *
                              (std::int64_t{decompress.image_height} * first.v_samp_factor /
                               decompress.max_v_samp_factor / 8);
  if (blocks > static_cast<std::int64_t>(bytes) * 8)
    throw Error(fmt::format("truncated: {} bytes are too few for {}x{} pixels", bytes,
                            decompress.image_width, decompress.image_height));
}

class JpegDecoder {
 public:
  JpegDecoder() {
    errors_ = {};
    decompress_ = {};
    decompress_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = on_error;
    errors_.base.emit_message = on_message;
    errors_.base.output_message = no_output;
  }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&decompress_); }

  Image decode(std::span<const std::byte> bytes, const DecodeLimits& limits) {
    if (!read_header(decompress_, errors_, progress_, bytes.data(), bytes.size())) fail();
    check_size(decompress_.image_width, decompress_.image_height, limits);
    check_length(decompress_, bytes.size());
    // The orientation is read now because libjpeg frees the markers when it finishes.
    const int stored_orientation = orientation();
    Image image;
    image.width = static_cast<int>(decompress_.image_width);
    image.height = static_cast<int>(decompress_.image_height);
    const bool cmyk =
        decompress_.jpeg_color_space == JCS_CMYK || decompress_.jpeg_color_space == JCS_YCCK;
    decompress_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    const std::size_t pixels = static_cast<std::size_t>(image.width) * image.height;
    image.rgb.resize(pixels * (cmyk ? 4 : 3));
    if (!read_pixels(decompress_, errors_, image.rgb.data())) fail();
    if (errors_.truncated || errors_.damaged) fail();
    if (cmyk) cmyk_to_rgb(image.rgb, decompress_.saw_Adobe_marker != 0);
    return upright(std::move(image), stored_orientation);
  }

 private:
  static bool read_header(jpeg_decompress_struct& decompress, ErrorManager& errors,
                          jpeg_progress_mgr& progress, const std::byte* data, std::size_t size) {
    if (setjmp(errors.jump) != 0) return false;
    jpeg_create_decompress(&decompress);
    progress.progress_monitor = limit_scans;
    decompress.progress = &progress;
    jpeg_mem_src(&decompress, reinterpret_cast<const unsigned char*>(data), size);
    jpeg_save_markers(&decompress, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&decompress, TRUE);
    return true;
  }

  static bool read_pixels(jpeg_decompress_struct& decompress, ErrorManager& errors,
                          std::uint8_t* pixels) {
    if (setjmp(errors.jump) != 0) return false;
    jpeg_start_decompress(&decompress);
    const std::size_t row_bytes =
        static_cast<std::size_t>(decompress.output_width) * decompress.output_components;
    while (decompress.output_scanline < decompress.output_height) {
      JSAMPROW row = pixels + decompress.output_scanline * row_bytes;
      jpeg_read_scanlines(&decompress, &row, 1);
    }
    jpeg_finish_decompress(&decompress);
    return true;
  }

  [[noreturn]] void fail() const {
    const std::string message = errors_.message;
    throw Error(fmt::format("{}: {}", errors_.truncated ? "truncated" : "damaged", message));
  }

  // Adobe's programs store inverted CMYK values, where 0 is full ink, and add an Adobe marker.
  static void cmyk_to_rgb(std::vector<std::uint8_t>& pixels, bool inverted) {
    std::uint8_t* dst = pixels.data();
    for (std::size_t i = 0; i + 3 < pixels.size(); i += 4, dst += 3) {
      const int flip = inverted ? 0 : 255;
      const int brightness = pixels[i + 3] ^ flip;
      for (std::size_t c = 0; c < 3; ++c) {
        dst[c] = static_cast<std::uint8_t>(((pixels[i + c] ^ flip) * brightness + 127) / 255);
      }
    }
    pixels.resize(pixels.size() / 4 * 3);
  }

  int orientation() const {
    constexpr std::size_t kPrefix = 6;
    for (auto marker = decompress_.marker_list; marker != nullptr; marker = marker->next) {
      if (marker->marker != JPEG_APP0 + 1 || marker->data_length < kPrefix ||
          std::memcmp(marker->data, "Exif\0\0", kPrefix) != 0) {
        continue;
      }
      const auto segment = std::as_bytes(std::span(marker->data, marker->data_length));
      return exif_orientation(segment.subspan(kPrefix));
    }
    return 1;
  }

  ErrorManager errors_;
  jpeg_decompress_struct decompress_;
  jpeg_progress_mgr progress_{};
};

}  // namespace

bool is_jpeg(std::span<const std::byte> bytes) {
  return bytes.size() >= 3 && std::memcmp(bytes.data(), "\xff\xd8\xff", 3) == 0;
}

Image decode_jpeg(std::span<const std::byte> bytes, const DecodeLimits& limits) {
  return JpegDecoder().decode(bytes, limits);
}

}  // namespace offramp::image::detail
