#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"
#include "image/codec.h"

namespace offramp::image {
namespace {

// libpng reports an error by calling a function that must not return, which here uses longjmp. The
// jump skips only stack frames of libpng and of static functions below, none of which has a local
// variable with a destructor.
struct Failure {
  std::jmp_buf jump;
  char message[256];
  bool truncated;
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto& failure = *static_cast<Failure*>(png_get_error_ptr(png));
  std::snprintf(failure.message, sizeof failure.message, "%s", message);
  std::longjmp(failure.jump, 1);
}

void on_warning(png_structp, png_const_charp) {}

// Limits each allocation of libpng. libpng 1.6.39 allocates the length that an eXIf chunk claims
// before it checks that the file is that long. Its own needs, mostly rows of pixels, are far below
// the limit.
png_voidp allocate(png_structp, png_alloc_size_t bytes) {
  constexpr png_alloc_size_t kMaxBytes = png_alloc_size_t{16} << 20;
  return bytes > kMaxBytes ? nullptr : std::malloc(bytes);
}

void release(png_structp, png_voidp memory) { std::free(memory); }

// Names of chunks, each with its final NUL, as libpng reads them.
constexpr char kIgnored[][5] = {"tEXt", "zTXt", "iTXt", "iCCP", "sPLT", "hIST", "pCAL", "sCAL"};

struct Source {
  const std::byte* data;
  std::size_t size;
  std::size_t position;
};

void on_read(png_structp png, png_bytep dst, std::size_t count) {
  auto& source = *static_cast<Source*>(png_get_io_ptr(png));
  if (count > source.size - source.position) {
    static_cast<Failure*>(png_get_error_ptr(png))->truncated = true;
    png_error(png, "the file ends inside a chunk");
  }
  std::memcpy(dst, source.data + source.position, count);
  source.position += count;
}

class PngDecoder {
 public:
  PngDecoder() = default;
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }

  Image decode(std::span<const std::byte> bytes, const DecodeLimits& limits) {
    source_ = {bytes.data(), bytes.size(), 0};
    png_ = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &failure_, on_error, on_warning, nullptr,
                                    allocate, release);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) throw Error("damaged: the PNG library cannot start");
    if (!read_header(png_, info_, failure_, source_)) fail();
    Image image;
    const auto width = static_cast<std::int64_t>(png_get_image_width(png_, info_));
    const auto height = static_cast<std::int64_t>(png_get_image_height(png_, info_));
    detail::check_size(width, height, limits);
    image.width = static_cast<int>(width);
    image.height = static_cast<int>(height);
    int channels = 0;
    int passes = 0;
    if (!set_transformations(png_, info_, failure_, channels, passes)) fail();
    image.rgb.resize(static_cast<std::size_t>(width * height) * static_cast<std::size_t>(channels));
    if (!read_pixels(png_, info_, failure_, image.rgb.data(), height, passes)) fail();
    if (channels == 4) detail::blend_with_white(image.rgb);
    return detail::upright(std::move(image), orientation());
  }

 private:
  static bool read_header(png_structp png, png_infop info, Failure& failure, Source& source) {
    if (setjmp(failure.jump) != 0) return false;
    // The image size is checked against DecodeLimits after the header has been read.
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    // These chunks do not change the pixels. libpng would decompress them and keep them all.
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER,
                                reinterpret_cast<png_const_bytep>(kIgnored),
                                static_cast<int>(sizeof kIgnored / sizeof kIgnored[0]));
    png_set_chunk_cache_max(png, 128);
    png_set_chunk_malloc_max(png, 8 << 20);
    png_set_read_fn(png, &source, on_read);
    png_read_info(png, info);
    return true;
  }

  static bool set_transformations(png_structp png, png_infop info, Failure& failure, int& channels,
                                  int& passes) {
    if (setjmp(failure.jump) != 0) return false;
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    channels = png_get_channels(png, info);
    if (channels != 3 && channels != 4) png_error(png, "the colour type is not known");
    return true;
  }

  static bool read_pixels(png_structp png, png_infop info, Failure& failure, std::uint8_t* pixels,
                          std::int64_t height, int passes) {
    if (setjmp(failure.jump) != 0) return false;
    const std::size_t row_bytes = png_get_rowbytes(png, info);
    for (int pass = 0; pass < passes; ++pass) {
      for (std::int64_t y = 0; y < height; ++y) {
        png_read_row(png, pixels + static_cast<std::size_t>(y) * row_bytes, nullptr);
      }
    }
    png_read_end(png, info);
    return true;
  }

  [[noreturn]] void fail() const {
    const std::string message = failure_.message;
    throw Error(fmt::format("{}: {}", failure_.truncated ? "truncated" : "damaged", message));
  }

  int orientation() const {
#ifdef PNG_eXIf_SUPPORTED
    png_bytep exif = nullptr;
    png_uint_32 count = 0;
    if (png_get_eXIf_1(png_, info_, &count, &exif) != 0 && exif != nullptr) {
      return detail::exif_orientation(std::as_bytes(std::span(exif, count)));
    }
#endif
    return 1;
  }

  Failure failure_{};
  Source source_{};
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

void on_write(png_structp png, png_bytep data, std::size_t count) {
  auto& dst = *static_cast<std::vector<std::byte>*>(png_get_io_ptr(png));
  bool full = false;
  try {
    const auto bytes = std::as_bytes(std::span(data, count));
    dst.insert(dst.end(), bytes.begin(), bytes.end());
  } catch (const std::bad_alloc&) {
    full = true;
  }
  if (full) png_error(png, "out of memory");
}

void on_flush(png_structp) {}

bool write_all(png_structp png, png_infop info, Failure& failure, const Image& image,
               std::vector<std::byte>& dst) {
  if (setjmp(failure.jump) != 0) return false;
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_write_fn(png, &dst, on_write, on_flush);
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  const std::size_t row_bytes = static_cast<std::size_t>(image.width) * 3;
  for (int y = 0; y < image.height; ++y) {
    png_write_row(png, image.rgb.data() + static_cast<std::size_t>(y) * row_bytes);
  }
  png_write_end(png, info);
  return true;
}

}  // namespace

namespace detail {

bool is_png(std::span<const std::byte> bytes) {
  return bytes.size() >= 8 && std::memcmp(bytes.data(), "\x89PNG\r\n\x1a\n", 8) == 0;
}

Image decode_png(std::span<const std::byte> bytes, const DecodeLimits& limits) {
  return PngDecoder().decode(bytes, limits);
}

}  // namespace detail

std::vector<std::byte> encode_png(const Image& image) {
  OFFRAMP_ASSERT(image.rgb.size() == static_cast<std::size_t>(image.width) * image.height * 3);
  std::vector<std::byte> bytes;
  Failure failure{};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &failure, on_error, on_warning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  const bool written = info != nullptr && write_all(png, info, failure, image, bytes);
  png_destroy_write_struct(&png, &info);
  if (!written) throw Error(fmt::format("cannot encode as PNG: {}", std::string(failure.message)));
  return bytes;
}

}  // namespace offramp::image
