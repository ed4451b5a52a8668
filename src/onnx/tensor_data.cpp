#include "onnx/tensor_data.h"

#include <bit>
#include <cstring>
#include <system_error>

#include "core/bf16.h"
#include "core/error.h"
#include "core/numbers.h"
#include "core/tensor.h"

namespace offramp::onnx {
namespace {

namespace fs = std::filesystem;
using schema::TensorProto;

/// Converts an f16 (1 sign bit, 5 of exponent, 10 of mantissa) to f32, which is exact.
float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa × 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

std::size_t bytes_of(int type) {
  switch (type) {
    case TensorProto::FLOAT:
    case TensorProto::INT32:
    case TensorProto::UINT32:
      return 4;
    case TensorProto::DOUBLE:
    case TensorProto::INT64:
    case TensorProto::UINT64:
      return 8;
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
    case TensorProto::INT16:
    case TensorProto::UINT16:
      return 2;
    case TensorProto::INT8:
    case TensorProto::UINT8:
    case TensorProto::BOOL:
      return 1;
    default:
      break;
  }
  const std::string name =
      schema::TensorProto_DataType_IsValid(type)
          ? schema::TensorProto_DataType_Name(static_cast<schema::TensorProto_DataType>(type))
          : std::to_string(type);
  throw Error(fmt::format("elements of type {} are not supported", name));
}

/// Converts `count` elements of type T, which need not be aligned.
template <typename T, typename Result, typename Convert>
std::vector<Result> converted(std::span<const std::byte> bytes, std::size_t count,
                              const Convert& convert) {
  std::vector<Result> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    T element;
    std::memcpy(&element, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = convert(element);
  }
  return values;
}

template <typename T>
std::vector<std::int64_t> integers_of(std::span<const std::byte> bytes, std::size_t count) {
  return converted<T, std::int64_t>(bytes, count,
                                    [](T value) { return static_cast<std::int64_t>(value); });
}

static_assert(std::endian::native == std::endian::little, "ONNX files are little-endian");

Constant from_bytes(int type, Dims shape, std::size_t count, std::span<const std::byte> bytes) {
  switch (type) {
    case TensorProto::FLOAT:
      return {std::move(shape),
              converted<float, float>(bytes, count, [](float value) { return value; })};
    case TensorProto::DOUBLE:
      return {std::move(shape), converted<double, float>(bytes, count, [](double value) {
                return static_cast<float>(value);
              })};
    case TensorProto::FLOAT16:
      return {std::move(shape), converted<std::uint16_t, float>(bytes, count, from_f16)};
    case TensorProto::BFLOAT16:
      return {std::move(shape), converted<std::uint16_t, float>(bytes, count, core::from_bf16)};
    case TensorProto::INT64:
    case TensorProto::UINT64:
      return {std::move(shape), integers_of<std::int64_t>(bytes, count)};
    case TensorProto::INT32:
      return {std::move(shape), integers_of<std::int32_t>(bytes, count)};
    case TensorProto::UINT32:
      return {std::move(shape), integers_of<std::uint32_t>(bytes, count)};
    case TensorProto::INT16:
      return {std::move(shape), integers_of<std::int16_t>(bytes, count)};
    case TensorProto::UINT16:
      return {std::move(shape), integers_of<std::uint16_t>(bytes, count)};
    case TensorProto::INT8:
      return {std::move(shape), integers_of<std::int8_t>(bytes, count)};
    default:
      return {std::move(shape), integers_of<std::uint8_t>(bytes, count)};
  }
}

/// Reads values that stand in one of the lists of the message instead of its raw bytes.
template <typename List, typename Result, typename Convert>
std::vector<Result> from_list(const List& list, std::size_t count, const Convert& convert) {
  if (static_cast<std::size_t>(list.size()) != count)
    throw Error(fmt::format("holds {} values, but its shape has {}", list.size(), count));
  std::vector<Result> values;
  values.reserve(count);
  for (const auto& value : list) values.push_back(convert(value));
  return values;
}

Constant from_lists(const TensorProto& tensor, int type, Dims shape, std::size_t count) {
  const auto to_integer = [](auto value) { return static_cast<std::int64_t>(value); };
  const auto to_float = [](auto value) { return static_cast<float>(value); };
  using Integers = Constant::Integers;
  switch (type) {
    case TensorProto::FLOAT:
      return {std::move(shape), from_list<decltype(tensor.float_data()), float>(tensor.float_data(),
                                                                                count, to_float)};
    case TensorProto::DOUBLE:
      return {std::move(shape), from_list<decltype(tensor.double_data()), float>(
                                    tensor.double_data(), count, to_float)};
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
      return {std::move(shape), from_list<decltype(tensor.int32_data()), float>(
                                    tensor.int32_data(), count, [&](std::int32_t value) {
                                      const auto bits = static_cast<std::uint16_t>(value);
                                      return type == TensorProto::FLOAT16 ? from_f16(bits)
                                                                          : core::from_bf16(bits);
                                    })};
    case TensorProto::INT64: {
      Integers values = from_list<decltype(tensor.int64_data()), std::int64_t>(tensor.int64_data(),
                                                                               count, to_integer);
      return {std::move(shape), std::move(values)};
    }
    case TensorProto::UINT64:
    case TensorProto::UINT32: {
      Integers values = from_list<decltype(tensor.uint64_data()), std::int64_t>(
          tensor.uint64_data(), count, to_integer);
      return {std::move(shape), std::move(values)};
    }
    default: {
      Integers values = from_list<decltype(tensor.int32_data()), std::int64_t>(tensor.int32_data(),
                                                                               count, to_integer);
      return {std::move(shape), std::move(values)};
    }
  }
}

/// @throws Error unless `name` is the name of a file without any folder
void check_plain_name(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.size() > 255 ||
      name.find('/') != std::string::npos || name.find('\\') != std::string::npos ||
      name.find('\0') != std::string::npos)
    throw Error(fmt::format(
        "its data are in the file {}: only a plain file name in the model's folder is read",
        core::quote(name)));
}

}  // namespace

TensorReader::FileRange TensorReader::external(const TensorProto& tensor) {
  std::string name;
  std::uint64_t offset = 0, length = 0;
  bool has_length = false;
  for (const schema::StringStringEntryProto& entry : tensor.external_data()) {
    const auto number = [&] {
      const auto value = core::parse_number<std::uint64_t>(entry.value());
      if (!value)
        throw Error(fmt::format("the {} of its external data is not a number: {}", entry.key(),
                                core::quote(entry.value())));
      return *value;
    };
    if (entry.key() == "location") {
      name = entry.value();
    } else if (entry.key() == "offset") {
      offset = number();
    } else if (entry.key() == "length") {
      length = number();
      has_length = true;
    } else if (entry.key() != "checksum") {
      throw Error(
          fmt::format("its external data has the unknown key {}", core::quote(entry.key())));
    }
  }
  check_plain_name(name);
  auto found = files_.find(name);
  if (found == files_.end()) {
    const fs::path path = folder_ / name;
    std::error_code error;
    const fs::file_status status = fs::symlink_status(path, error);
    if (status.type() == fs::file_type::not_found)
      throw Error(fmt::format("its data are in the file {}, which is not beside the model",
                              core::quote(name)));
    if (!fs::is_regular_file(status))
      throw Error(fmt::format("its data are in the file {}, which is not a regular file",
                              core::quote(name)));
    found = files_.emplace(name, std::make_unique<core::MappedFile>(path)).first;
    external_bytes_ += found->second->bytes().size();
  }
  const std::span<const std::byte> bytes = found->second->bytes();
  if (offset > bytes.size() || (has_length && length > bytes.size() - offset))
    throw Error(fmt::format(
        "its data are bytes {} to {} of the file {}, which has {} bytes", offset,
        has_length ? fmt::format("{}", static_cast<double>(offset) + static_cast<double>(length))
                   : "the end",
        core::quote(name), bytes.size()));
  return {found->second.get(), bytes.subspan(offset, has_length ? length : bytes.size() - offset)};
}

Constant TensorReader::read(const TensorProto& tensor) {
  const int type = tensor.data_type();
  const std::size_t size = bytes_of(type);
  Dims shape(tensor.dims().begin(), tensor.dims().end());
  if (shape.size() > 16) throw Error(fmt::format("has {} dimensions, at most 16", shape.size()));
  const auto count = static_cast<std::size_t>(checked_count(shape));
  if (tensor.has_segment()) throw Error("is stored in segments, which are not supported");
  const bool is_external = tensor.data_location() == TensorProto::EXTERNAL;
  if (!is_external && !tensor.has_raw_data()) {
    Constant listed = from_lists(tensor, type, std::move(shape), count);
    listed.set_type(type);
    return listed;
  }
  const auto placed = placed_.find(&tensor);
  const FileRange range = is_external ? external(tensor)
                          : placed != placed_.end()
                              ? placed->second
                              : FileRange{nullptr, std::as_bytes(std::span(tensor.raw_data()))};
  const std::span<const std::byte> bytes = range.bytes;
  if (bytes.size() != count * size)
    throw Error(fmt::format("holds {} bytes, but its shape {} has {} elements of {}", bytes.size(),
                            core::to_string(shape), count, size));
  Constant result = from_bytes(type, std::move(shape), count, bytes);
  result.set_type(type);
  if (range.file != nullptr) range.file->drop(bytes);
  return result;
}

}  // namespace offramp::onnx
