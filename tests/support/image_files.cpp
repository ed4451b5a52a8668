#include "tests/support/image_files.h"

#include <archive.h>
#include <archive_entry.h>
#include <png.h>
#include <cstdio>

#include <jpeglib.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "core/file.h"

namespace offramp::test {

image::Image flat_image(int width, int height, std::uint8_t red, std::uint8_t green,
                        std::uint8_t blue) {
  image::Image image{width, height, {}};
  for (int i = 0; i < width * height; ++i) {
    image.rgb.insert(image.rgb.end(), {red, green, blue});
  }
  return image;
}

image::Image patterned_image(int width, int height, int seed) {
  image::Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int value = seed * 29 + c * 61 + (seed % 7 + 1) * x + (seed % 5 + 2) * y;
        image.rgb.push_back(static_cast<std::uint8_t>(value & 0xff));
      }
    }
  }
  return image;
}

std::vector<std::uint8_t> exif_block(int orientation, bool big_endian) {
  std::vector<std::uint8_t> block;
  const auto put = [&](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) {
      const int shift = big_endian ? 8 * (bytes - 1 - i) : 8 * i;
      block.push_back(static_cast<std::uint8_t>(value >> shift));
    }
  };
  block.assign(2, big_endian ? 'M' : 'I');
  put(42, 2), put(8, 4);
  put(2, 2);                                        // number of entries
  put(0x010f, 2), put(2, 2), put(4, 4), put(0, 4);  // tag: name of the maker
  put(0x0112, 2), put(3, 2), put(1, 4);             // tag: orientation
  put(static_cast<std::uint32_t>(orientation), 2), put(0, 2);
  put(0, 4);
  return block;
}

std::vector<std::byte> encode_jpeg(int width, int height, std::span<const std::uint8_t> samples,
                                   const JpegOptions& options) {
  jpeg_compress_struct compress{};
  jpeg_error_mgr errors{};
  compress.err = jpeg_std_error(&errors);
  jpeg_create_compress(&compress);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&compress, &data, &size);
  compress.image_width = static_cast<JDIMENSION>(width);
  compress.image_height = static_cast<JDIMENSION>(height);
  const bool ink = options.colour == JpegColour::cmyk || options.colour == JpegColour::ycck;
  compress.input_components = ink ? 4 : options.colour == JpegColour::gray ? 1 : 3;
  compress.in_color_space = ink                                  ? JCS_CMYK
                            : options.colour == JpegColour::gray ? JCS_GRAYSCALE
                                                                 : JCS_RGB;
  jpeg_set_defaults(&compress);
  if (options.colour == JpegColour::ycck) jpeg_set_colorspace(&compress, JCS_YCCK);
  if (ink) compress.write_Adobe_marker = options.adobe_marker ? TRUE : FALSE;
  jpeg_set_quality(&compress, 95, TRUE);
  compress.comp_info[0].h_samp_factor = compress.comp_info[0].v_samp_factor = 1;
  if (ink) compress.comp_info[3].h_samp_factor = compress.comp_info[3].v_samp_factor = 1;
  if (options.progressive) jpeg_simple_progression(&compress);
  jpeg_start_compress(&compress, TRUE);
  if (options.orientation != 0) {
    std::vector<std::uint8_t> segment = {'E', 'x', 'i', 'f', 0, 0};
    const auto block = exif_block(options.orientation, options.big_endian);
    segment.insert(segment.end(), block.begin(), block.end());
    jpeg_write_marker(&compress, JPEG_APP0 + 1, segment.data(),
                      static_cast<unsigned>(segment.size()));
  }
  const int row_bytes = width * compress.input_components;
  for (int y = 0; y < height; ++y) {
    auto* row = const_cast<JSAMPROW>(samples.data() + std::ptrdiff_t{y} * row_bytes);
    jpeg_write_scanlines(&compress, &row, 1);
  }
  jpeg_finish_compress(&compress);
  jpeg_destroy_compress(&compress);
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(begin, begin + size);
  std::free(data);
  return bytes;
}

std::vector<std::byte> encode_jpeg(const image::Image& image, const JpegOptions& options) {
  return encode_jpeg(image.width, image.height, image.rgb, options);
}

std::vector<std::byte> encode(const PngFile& file) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  std::vector<std::byte> bytes;
  png_set_write_fn(
      png, &bytes,
      [](png_structp p, png_bytep data, std::size_t count) {
        auto& dst = *static_cast<std::vector<std::byte>*>(png_get_io_ptr(p));
        const auto* begin = reinterpret_cast<const std::byte*>(data);
        dst.insert(dst.end(), begin, begin + count);
      },
      [](png_structp) {});
  png_set_IHDR(png, info, static_cast<png_uint_32>(file.width),
               static_cast<png_uint_32>(file.height), file.bit_depth, file.colour_type,
               file.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_color> palette;
  for (std::size_t i = 0; i + 2 < file.palette.size(); i += 3) {
    palette.push_back({file.palette[i], file.palette[i + 1], file.palette[i + 2]});
  }
  if (!palette.empty()) {
    png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
  }
  if (!file.palette_alpha.empty()) {
    png_set_tRNS(png, info, file.palette_alpha.data(), static_cast<int>(file.palette_alpha.size()),
                 nullptr);
  }
  if (!file.transparent.empty()) {
    png_color_16 colour{};
    colour.gray = static_cast<png_uint_16>(file.transparent[0]);
    if (file.transparent.size() == 3) {
      colour.red = static_cast<png_uint_16>(file.transparent[0]);
      colour.green = static_cast<png_uint_16>(file.transparent[1]);
      colour.blue = static_cast<png_uint_16>(file.transparent[2]);
    }
    png_set_tRNS(png, info, nullptr, 0, &colour);
  }
  std::vector<std::uint8_t> exif = file.exif;
  if (!exif.empty()) {
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()), exif.data());
  }
  for (std::string text : file.texts) {
    png_text comment{};
    comment.compression = PNG_TEXT_COMPRESSION_zTXt;
    comment.key = const_cast<char*>("Comment");
    comment.text = text.data();
    comment.text_length = text.size();
    png_set_text(png, info, &comment, 1);
  }
  png_write_info(png, info);
  const std::size_t row_bytes = png_get_rowbytes(png, info);
  if (row_bytes * static_cast<std::size_t>(file.height) != file.rows.size()) {
    throw std::logic_error("PngFile: rows of the wrong length");
  }
  std::vector<std::uint8_t> rows = file.rows;
  std::vector<png_bytep> pointers;
  for (int y = 0; y < file.height; ++y) {
    pointers.push_back(rows.data() + static_cast<std::size_t>(y) * row_bytes);
  }
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

std::vector<std::byte> stored_image(const std::string& name) {
  return bytes_of(core::read_text(OFFRAMP_TEST_DATA "/images/" + name));
}

void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

namespace {

void check(archive* a, int status) {
  if (status != ARCHIVE_OK) throw std::runtime_error(archive_error_string(a));
}

}  // namespace

void write_archive(const std::filesystem::path& path, const std::vector<ArchiveEntry>& entries,
                   const std::string& passphrase) {
  const std::string name = path.string();
  archive* a = archive_write_new();
  if (name.ends_with(".zip")) {
    check(a, archive_write_set_format_zip(a));
    if (!passphrase.empty()) {
      check(a, archive_write_set_options(a, "zip:encryption=zipcrypt"));
      check(a, archive_write_set_passphrase(a, passphrase.c_str()));
    }
  } else {
    check(a, archive_write_set_format_ustar(a));
    if (name.ends_with(".gz")) check(a, archive_write_add_filter_gzip(a));
    if (name.ends_with(".xz")) check(a, archive_write_add_filter_xz(a));
  }
  check(a, archive_write_open_filename(a, path.c_str()));
  for (const ArchiveEntry& entry : entries) {
    archive_entry* e = archive_entry_new();
    const bool folder = entry.path.ends_with('/');
    archive_entry_set_pathname(e, entry.path.c_str());
    archive_entry_set_perm(e, folder ? 0755 : 0644);
    archive_entry_set_filetype(e, folder ? AE_IFDIR : AE_IFREG);
    archive_entry_set_size(e, static_cast<la_int64_t>(entry.bytes.size()));
    if (entry.hard_link) {
      archive_entry_set_hardlink(e, entry.link_to.c_str());
    } else if (!entry.link_to.empty()) {
      archive_entry_set_filetype(e, AE_IFLNK);
      archive_entry_set_symlink(e, entry.link_to.c_str());
    }
    check(a, archive_write_header(a, e));
    if (!entry.bytes.empty()) archive_write_data(a, entry.bytes.data(), entry.bytes.size());
    archive_entry_free(e);
  }
  check(a, archive_write_close(a));
  archive_write_free(a);
}

std::vector<std::byte> gzip(std::span<const std::byte> bytes) {
  archive* a = archive_write_new();
  check(a, archive_write_set_format_raw(a));
  check(a, archive_write_add_filter_gzip(a));
  check(a, archive_write_set_bytes_per_block(a, 0));  // no padding at the end
  std::vector<std::byte> packed(bytes.size() + (1 << 16));
  std::size_t used = 0;
  check(a, archive_write_open_memory(a, packed.data(), packed.size(), &used));
  archive_entry* e = archive_entry_new();
  archive_entry_set_filetype(e, AE_IFREG);
  check(a, archive_write_header(a, e));
  archive_write_data(a, bytes.data(), bytes.size());
  archive_entry_free(e);
  check(a, archive_write_close(a));
  archive_write_free(a);
  packed.resize(used);
  return packed;
}

}  // namespace offramp::test
