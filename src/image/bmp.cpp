#include <sys/mman.h>
#include <turbojpeg.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "core/error.h"
#include "image/codec.h"

namespace offramp::image::detail {
namespace {

// TurboJPEG decodes a BMP whose header has the original 40 (or 12) bytes and that is stored from
// bottom to top. Later kinds of headers begin with the same 40 bytes, so a file of any kind is
// given to it with a header of 40 bytes.
constexpr std::size_t kFileHeader = 14, kInfoHeader = 40, kCoreHeader = 12;

template <typename T>
T read_at(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <typename T>
void write_at(std::vector<std::byte>& bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

std::size_t header_bytes(std::span<const std::byte> bytes) {
  return read_at<std::uint32_t>(bytes, kFileHeader);
}

struct Header {
  std::int64_t width = 0, height = 0;
  bool top_down = false;
  int bits = 0;                   ///< number of bits of a pixel
  std::uint32_t compression = 0;  ///< 0: none; 3: the pixels are described by bit masks
};

Header read_header(std::span<const std::byte> bytes) {
  const std::size_t size = header_bytes(bytes);
  if (bytes.size() < kFileHeader + size) throw Error("truncated: the BMP file ends in its header");
  Header header;
  if (size == kCoreHeader) {
    header.width = read_at<std::uint16_t>(bytes, 18);
    header.height = read_at<std::uint16_t>(bytes, 20);
    header.bits = read_at<std::uint16_t>(bytes, 24);
    return header;
  }
  header.width = read_at<std::int32_t>(bytes, 18);
  header.height = read_at<std::int32_t>(bytes, 22);
  header.top_down = header.height < 0;
  header.height = std::abs(header.height);
  header.bits = read_at<std::uint16_t>(bytes, 28);
  header.compression = read_at<std::uint32_t>(bytes, 30);
  return header;
}

/// Whether bit masks give the order of bytes that a pixel of 32 bits has without them: blue, green,
/// red, and one that is ignored.
bool has_usual_masks(std::span<const std::byte> bytes) {
  constexpr std::size_t kMasks = kFileHeader + kInfoHeader;
  return header_bytes(bytes) != 64 && bytes.size() >= kMasks + 12 &&
         read_at<std::uint32_t>(bytes, kMasks) == 0xff0000 &&
         read_at<std::uint32_t>(bytes, kMasks + 4) == 0xff00 &&
         read_at<std::uint32_t>(bytes, kMasks + 8) == 0xff;
}

void check_kind(std::span<const std::byte> bytes, const Header& header) {
  if ((header.bits == 8 || header.bits == 24 || header.bits == 32) && header.compression == 0)
    return;
  if (header.bits == 32 && header.compression == 3 && has_usual_masks(bytes)) return;
  throw Error(
      fmt::format("not supported: a BMP file of {} bits per pixel and compression {}; 8, 24 and 32 "
                  "bits without compression are supported",
                  header.bits, header.compression));
}

/// Returns the file that TurboJPEG is given, without what it does not need.
std::vector<std::byte> simplified(std::span<const std::byte> bytes, const Header& header) {
  const std::size_t header_size = header_bytes(bytes);
  const std::size_t pixels = read_at<std::uint32_t>(bytes, 10);
  const auto row_bytes = static_cast<std::size_t>((header.width * header.bits + 31) / 32 * 4);
  const std::size_t pixel_bytes = row_bytes * static_cast<std::size_t>(header.height);
  if (pixels > bytes.size() || pixel_bytes > bytes.size() - pixels)
    throw Error(fmt::format("truncated: {} bytes are too few for {}x{} pixels", bytes.size(),
                            header.width, header.height));
  if (pixels < kFileHeader + header_size)
    throw Error("damaged: the BMP's pixels begin inside its header");
  const std::size_t kept = kFileHeader + std::min(header_size, kInfoHeader);
  std::vector<std::byte> file(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(kept));
  const auto append = [&](std::size_t begin, std::size_t count) {
    const auto part = bytes.subspan(begin, count);
    file.insert(file.end(), part.begin(), part.end());
  };
  if (header.bits == 8) {
    const std::size_t palette = kFileHeader + header_size;
    append(palette, std::min<std::size_t>(pixels - palette, std::size_t{4} * 256));
  }
  write_at(file, 10, static_cast<std::uint32_t>(file.size()));
  if (header_size != kCoreHeader) {
    write_at(file, kFileHeader, static_cast<std::uint32_t>(kInfoHeader));
    write_at(file, 22, static_cast<std::int32_t>(header.height));
    write_at(file, 30, std::uint32_t{0});
    if (header.bits != 8) write_at(file, 46, std::uint32_t{0});  // colours of a palette
  }
  append(pixels, pixel_bytes);
  return file;
}

/// A file in memory, because TurboJPEG reads a BMP from a named file only.
class MemoryFile {
 public:
  explicit MemoryFile(std::span<const std::byte> bytes)
      : descriptor_(memfd_create("image", MFD_CLOEXEC)) {
    while (descriptor_ >= 0 && !bytes.empty()) {
      const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    if (descriptor_ >= 0 && bytes.empty()) return;
    const std::string problem = std::strerror(errno);
    if (descriptor_ >= 0) close(descriptor_);
    throw Error(fmt::format("cannot hold a BMP file in memory: {}", problem));
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { close(descriptor_); }
  std::string path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

 private:
  int descriptor_;
};

struct FreePixels {
  void operator()(unsigned char* pixels) const { tjFree(pixels); }
};

}  // namespace

bool is_bmp(std::span<const std::byte> bytes) {
  if (bytes.size() < kFileHeader + 4 || std::memcmp(bytes.data(), "BM", 2) != 0) return false;
  constexpr std::size_t kSizes[] = {12, 40, 52, 56, 64, 108, 124};
  return std::find(std::begin(kSizes), std::end(kSizes), header_bytes(bytes)) != std::end(kSizes);
}

Image decode_bmp(std::span<const std::byte> bytes, const DecodeLimits& limits) {
  const Header header = read_header(bytes);
  check_size(header.width, header.height, limits);
  check_kind(bytes, header);
  const MemoryFile file(simplified(bytes, header));
  int width = 0, height = 0, format = TJPF_RGB;
  const std::unique_ptr<unsigned char, FreePixels> pixels(tjLoadImage(
      file.path().c_str(), &width, 1, &height, &format, header.top_down ? TJFLAG_BOTTOMUP : 0));
  if (pixels == nullptr) {
    // The message begins with the name of a function: "tjLoadImage(): …".
    std::string_view message = tjGetErrorStr2(nullptr);
    if (const auto end = message.find("(): "); end != message.npos) message.remove_prefix(end + 4);
    throw Error(fmt::format("damaged: {}", message));
  }
  OFFRAMP_ASSERT(width == header.width && height == header.height);
  Image image{width, height, {}};
  image.rgb.assign(pixels.get(), pixels.get() + std::size_t{3} * static_cast<std::size_t>(width) *
                                                    static_cast<std::size_t>(height));
  return image;
}

}  // namespace offramp::image::detail
