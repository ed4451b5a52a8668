#include <webp/decode.h>
#include <webp/demux.h>

#include <cstring>
#include <memory>

#include "core/error.h"
#include "image/codec.h"

namespace offramp::image::detail {
namespace {

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

/// The first frame of a file; a file without animation has one frame.
class FirstFrame {
 public:
  explicit FirstFrame(const WebPDemuxer* demuxer) {
    if (WebPDemuxGetFrame(demuxer, 1, &frame_) == 0 || frame_.complete == 0)
      throw Error("damaged: a WebP file without an image");
  }
  FirstFrame(const FirstFrame&) = delete;
  FirstFrame& operator=(const FirstFrame&) = delete;
  ~FirstFrame() { WebPDemuxReleaseIterator(&frame_); }
  const WebPIterator* operator->() const { return &frame_; }

 private:
  WebPIterator frame_{};
};

const char* reason(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "too large for the WebP library's memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a kind of WebP file that its library does not read";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the compressed pixels end early";
    default:
      return "the compressed pixels are not valid";
  }
}

/// Decodes a frame to its place in the canvas.
/// @param canvas  [height, width, channels], where channels is 3, or 4 with alpha
void decode_frame(const FirstFrame& frame, int width, int channels,
                  std::vector<std::uint8_t>& canvas) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) throw Error("damaged: the WebP library cannot start");
  const std::size_t row_bytes =
      static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
  const std::size_t begin =
      static_cast<std::size_t>(frame->y_offset) * row_bytes +
      static_cast<std::size_t>(frame->x_offset) * static_cast<std::size_t>(channels);
  config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = canvas.data() + begin;
  config.output.u.RGBA.stride = static_cast<int>(row_bytes);
  config.output.u.RGBA.size = canvas.size() - begin;
  const VP8StatusCode status = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
  if (status != VP8_STATUS_OK) {
    const bool truncated = status == VP8_STATUS_SUSPENDED || status == VP8_STATUS_NOT_ENOUGH_DATA;
    throw Error(fmt::format("{}: {}", truncated ? "truncated" : "damaged", reason(status)));
  }
}

/// Returns the EXIF orientation of a file, 1 to 8. Some programs write the prefix of a JPEG's
/// segment before the TIFF block.
int orientation(const WebPDemuxer* demuxer) {
  WebPChunkIterator chunk{};
  int result = 1;
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk) != 0) {
    auto block = std::as_bytes(std::span(chunk.chunk.bytes, chunk.chunk.size));
    if (block.size() >= 6 && std::memcmp(block.data(), "Exif\0\0", 6) == 0)
      block = block.subspan(6);
    result = exif_orientation(block);
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return result;
}

}  // namespace

bool is_webp(std::span<const std::byte> bytes) {
  return bytes.size() >= 12 && std::memcmp(bytes.data(), "RIFF", 4) == 0 &&
         std::memcmp(bytes.data() + 8, "WEBP", 4) == 0;
}

Image decode_webp(std::span<const std::byte> bytes, const DecodeLimits& limits) {
  const WebPData data = {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemuxPartial(&data, &state));
  // The size is checked first, so that a large image gets the same message whole and truncated.
  if (demuxer != nullptr && state > WEBP_DEMUX_PARSING_HEADER)
    check_size(WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH),
               WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT), limits);
  if (state == WEBP_DEMUX_PARSING_HEADER || state == WEBP_DEMUX_PARSED_HEADER)
    throw Error("truncated: the WebP file ends inside a chunk");
  if (demuxer == nullptr) throw Error("damaged: the WebP file's chunks are not valid");

  const FirstFrame frame(demuxer.get());
  Image image;
  image.width = static_cast<int>(WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH));
  image.height = static_cast<int>(WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT));
  // Pixels that the first frame of an animation does not cover are transparent.
  const bool covered = frame->width == image.width && frame->height == image.height;
  const int channels = covered && frame->has_alpha == 0 ? 3 : 4;
  image.rgb.resize(static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) *
                   static_cast<std::size_t>(channels));
  decode_frame(frame, image.width, channels, image.rgb);
  if (channels == 4) blend_with_white(image.rgb);
  return upright(std::move(image), orientation(demuxer.get()));
}

}  // namespace offramp::image::detail
