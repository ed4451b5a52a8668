#include <archive_entry.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "data/libarchive.h"
#include "data/sources.h"

namespace offramp::data::detail {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit)
      value = (value & 1) != 0 ? value >> 1 ^ 0xedb88320U : value >> 1;
    table[i] = value;
  }
  return table;
}

/// Computes the CRC-32 of RFC 1952, section 8. It is needed because libarchive does not compare the
/// checksum of a gzip file.
std::uint32_t crc32(std::span<const std::byte> bytes) {
  static constexpr auto kTable = crc_table();
  std::uint32_t value = ~std::uint32_t{0};
  for (const std::byte byte : bytes)
    value = kTable[(value ^ static_cast<std::uint32_t>(byte)) & 0xff] ^ value >> 8;
  return ~value;
}

std::uint32_t little_endian(std::span<const std::byte> bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value |= static_cast<std::uint32_t>(bytes[i]) << (8 * i);
  return value;
}

}  // namespace

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

std::vector<std::byte> decompress_gzip(std::span<const std::byte> bytes, std::uint64_t max_bytes) {
  constexpr std::size_t kHeaderBytes = 10;
  constexpr std::size_t kTrailerBytes = 8;  // checksum and size of the decompressed bytes
  if (bytes.size() < kHeaderBytes + kTrailerBytes) {
    throw Error(fmt::format("the file has {} bytes, too few for a gzip file", bytes.size()));
  }
  const std::uint32_t checksum = little_endian(bytes.last(8));
  const std::uint32_t size = little_endian(bytes.last(4));
  const auto damaged = [](archive* reader) {
    return Error(fmt::format("the gzip file is damaged: {}", last_error(reader)));
  };
  const OpenArchive reader(archive_read_new());
  if (reader == nullptr) throw Error("the archive library cannot start");
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_raw(reader.get());
  archive_read_support_format_empty(reader.get());
  archive_entry* entry = nullptr;
  if (archive_read_open_memory(reader.get(), bytes.data(), bytes.size()) != ARCHIVE_OK) {
    throw damaged(reader.get());
  }
  // The status is ARCHIVE_EOF here if the decompressed content is empty.
  int status = archive_read_next_header(reader.get(), &entry);
  std::vector<std::byte> decompressed;
  const void* data = nullptr;
  std::size_t count = 0;
  la_int64_t offset = 0;
  while (status != ARCHIVE_EOF) {
    if (status == ARCHIVE_OK)
      status = archive_read_data_block(reader.get(), &data, &count, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK) throw damaged(reader.get());
    if (count > max_bytes - decompressed.size()) {
      throw Error(fmt::format("decompresses to more than the {} bytes allowed", max_bytes));
    }
    const auto* first = static_cast<const std::byte*>(data);
    decompressed.insert(decompressed.end(), first, first + count);
  }
  if (decompressed.size() != size) {
    throw Error(fmt::format(
        "the gzip file is truncated or damaged: it decompresses to {} bytes, but its last bytes "
        "state {}",
        decompressed.size(), size));
  }
  if (crc32(decompressed) != checksum)
    throw Error("the gzip file is damaged: its checksum is wrong");
  return decompressed;
}

}  // namespace offramp::data::detail
