#include "core/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/bf16.h"
#include "core/error.h"
#include "core/file.h"

namespace offramp::core {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

using Json = nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr std::size_t kMaxDimensions = 32;
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::array kDTypes = {DType::f32, DType::bf16, DType::f64, DType::i64,
                                DType::i32, DType::u64,  DType::u8,  DType::i8};

DType dtype_from_string(std::string_view word) {
  std::string known;
  for (DType dtype : kDTypes) {
    if (to_string(dtype) == word) return dtype;
    known += (known.empty() ? "" : ", ") + std::string(to_string(dtype));
  }
  throw Error(fmt::format("element type {} is not supported; supported: {}", quote(word), known));
}

/// The entry of one tensor in the header.
struct Entry {
  std::optional<DType> dtype;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

/// Reads the header from the events of the JSON parser. Anything outside the fixed grammar of three
/// levels is refused at once, so deep nesting, duplicates and unknown values take no memory.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  Metadata metadata;
  std::map<std::string, Entry, std::less<>> entries;

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    unexpected("a fraction or too large a number");
  }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::shape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        throw Error(fmt::format("{}: dimension {} is too large", where(), value));
      if (entry_->shape->size() == kMaxDimensions)
        throw Error(fmt::format("{}: more than {} dimensions", where(), kMaxDimensions));
      entry_->shape->push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ == State::offsets) {
      if (entry_->offsets->size() == 2)
        throw Error(fmt::format("{}: more than two data_offsets", where()));
      entry_->offsets->push_back(value);
      return true;
    }
    unexpected("a number");
  }

  bool string(string_t& value) override {
    if (state_ == State::metadata) {
      if (!metadata.emplace(field_, std::move(value)).second)
        throw Error(fmt::format("metadata key {} appears twice", quote(field_)));
      return true;
    }
    if (state_ == State::tensor && field_ == "dtype") {
      if (entry_->dtype) repeated();
      try {
        entry_->dtype = dtype_from_string(value);
      } catch (const Error& error) {
        throw_with_place(where(), error);
      }
      return true;
    }
    unexpected("a text");
  }

  bool start_object(std::size_t) override {
    if (state_ == State::outside) {
      state_ = State::top;
    } else if (state_ == State::top) {
      state_ = name_ == kMetadataKey ? State::metadata : State::tensor;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(string_t& value) override {
    if (state_ != State::top) {
      field_ = std::move(value);
      if (state_ == State::tensor && field_ != "dtype" && field_ != "shape" &&
          field_ != "data_offsets")
        throw Error(fmt::format("{}: unknown field {}", where(), quote(field_)));
      return true;
    }
    name_ = std::move(value);
    if (name_ == kMetadataKey) {
      if (std::exchange(metadata_seen_, true))
        throw Error(fmt::format("{} appears twice", kMetadataKey));
      return true;
    }
    const auto [place, is_new] = entries.try_emplace(name_);
    if (!is_new) throw Error(fmt::format("tensor {} appears twice", quote(name_)));
    entry_ = &place->second;
    return true;
  }

  bool end_object() override {
    state_ = state_ == State::top ? State::outside : State::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::tensor && field_ == "shape") {
      if (entry_->shape) repeated();
      entry_->shape.emplace();
      state_ = State::shape;
    } else if (state_ == State::tensor && field_ == "data_offsets") {
      if (entry_->offsets) repeated();
      entry_->offsets.emplace();
      state_ = State::offsets;
    } else {
      unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    state_ = State::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // Only the part of the parser's message that says what it expected is kept.
    std::string_view text = error.what();
    if (const auto at = text.rfind("; last read"); at != text.npos) text = text.substr(0, at);
    if (const auto at = text.find(": "); at != text.npos) text = text.substr(at + 2);
    throw Error(fmt::format("header is not valid JSON at byte {}: {}", position, text));
  }

 private:
  enum class State { outside, top, metadata, tensor, shape, offsets };

  std::string where() const {
    switch (state_) {
      case State::metadata:
        return fmt::format("metadata key {}", quote(field_));
      case State::tensor:
      case State::shape:
      case State::offsets:
        return fmt::format("tensor {}", quote(name_));
      case State::top:
        return name_ == kMetadataKey ? name_ : fmt::format("tensor {}", quote(name_));
      case State::outside:
        break;
    }
    return "header";
  }

  [[noreturn]] void unexpected(std::string_view what) const {
    switch (state_) {
      case State::outside:
        throw Error(fmt::format("header is {}, not an object", what));
      case State::top:
        throw Error(fmt::format("{} is {}, not an object", where(), what));
      case State::metadata:
        throw Error(fmt::format("{} is {}, not a text", where(), what));
      case State::tensor:
        throw Error(fmt::format("{}: {} cannot be {}", where(), field_, what));
      case State::shape:
        throw Error(fmt::format("{}: shape holds {}", where(), what));
      case State::offsets:
        throw Error(fmt::format("{}: data_offsets hold {}", where(), what));
    }
    throw Error("header is malformed");
  }

  [[noreturn]] void repeated() const {
    throw Error(fmt::format("{}: {} appears twice", where(), field_));
  }

  State state_ = State::outside;
  std::string name_, field_;
  Entry* entry_ = nullptr;
  bool metadata_seen_ = false;
};

/// Checks one entry, independently of the others, and finds its bytes in the file.
TensorView resolve(const Entry& entry, std::span<const std::byte> data) {
  if (!entry.dtype) throw Error("dtype is missing");
  if (!entry.shape) throw Error("shape is missing");
  if (!entry.offsets) throw Error("data_offsets are missing");
  if (entry.offsets->size() != 2) throw Error("fewer than two data_offsets");

  const std::uint64_t begin = entry.offsets->front();
  const std::uint64_t end = entry.offsets->back();
  if (begin > end) throw Error(fmt::format("data begin at {}, after their end at {}", begin, end));
  if (end > data.size())
    throw Error(
        fmt::format("data end at {}, but the file holds {} bytes of data", end, data.size()));
  const auto count = static_cast<std::uint64_t>(element_count(*entry.shape));
  std::uint64_t expected = 0;
  if (__builtin_mul_overflow(count, std::uint64_t{size_of(*entry.dtype)}, &expected) ||
      expected != end - begin)
    throw Error(fmt::format("{} bytes of data do not fit {} {}", end - begin,
                            to_string(*entry.dtype), to_string(*entry.shape)));
  return {*entry.dtype, *entry.shape, data.subspan(begin, end - begin)};
}

void check_contiguous(const std::map<std::string, TensorView, std::less<>>& tensors,
                      std::span<const std::byte> data) {
  struct Range {
    std::uint64_t begin, end;
    std::string_view name;
  };
  std::vector<Range> ranges;
  ranges.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const auto begin = static_cast<std::uint64_t>(tensor.bytes.data() - data.data());
    ranges.push_back({begin, begin + tensor.bytes.size(), name});
  }
  std::ranges::sort(ranges, [](const Range& a, const Range& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t expected = 0;
  for (const Range& range : ranges) {
    if (range.begin != expected)
      throw Error(fmt::format(
          "tensor {}: data {}: begin at {}, expected {}", quote(range.name),
          range.begin < expected ? "overlap another tensor's" : "leave a hole before them",
          range.begin, expected));
    expected = range.end;
  }
  if (expected != data.size())
    throw Error(fmt::format("{} bytes after the last tensor's data", data.size() - expected));
}

}  // namespace

HostTensor TensorView::copy() const { return {dtype, shape, {bytes.begin(), bytes.end()}}; }

std::vector<float> TensorView::to_f32() const {
  if (dtype != DType::f32 && dtype != DType::bf16) return copy().to_f32();
  std::vector<float> values(bytes.size() / size_of(dtype));
  if (dtype == DType::f32) {
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t half;  // copied, because it need not be aligned in the file
    std::memcpy(&half, bytes.data() + i * sizeof half, sizeof half);
    values[i] = from_bf16(half);
  }
  return values;
}

void Safetensors::drop_pages(const TensorView& tensor) const {
  if (owner_) owner_->drop(tensor.bytes);
}

void Safetensors::check_length() const {
  if (owner_) owner_->check_length();
}

Safetensors Safetensors::open(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(path);
  try {
    Safetensors result = parse(file->bytes());
    result.owner_ = file;
    return result;
  } catch (const Error& error) {
    throw_with_place(path.string(), error);
  }
}

Safetensors Safetensors::parse(std::span<const std::byte> bytes) {
  if (bytes.size() < kLengthBytes)
    throw Error(fmt::format("not a safetensors file: {} bytes, too short for a header length",
                            bytes.size()));
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  bytes = bytes.subspan(kLengthBytes);
  // A file whose header does not begin with a brace is not a safetensors file. This is checked
  // before the length, because the length of another kind of file would give a misleading message.
  if (!bytes.empty() && static_cast<char>(bytes[0]) != '{')
    throw Error("not a safetensors file: its header does not begin with {");
  if (header_bytes > kMaxHeaderBytes)
    throw Error(fmt::format("header of {} bytes is longer than the {} allowed", header_bytes,
                            kMaxHeaderBytes));
  if (header_bytes > bytes.size())
    throw Error(fmt::format("truncated: header of {} bytes, but {} bytes follow", header_bytes,
                            bytes.size()));
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()), header_bytes);
  const auto data = bytes.subspan(header_bytes);

  // The JSON parser would treat a zero byte as the end of the header.
  if (const auto zero = header.find('\0'); zero != header.npos)
    throw Error(fmt::format("header is not valid JSON at byte {}: zero byte", zero));
  HeaderReader reader;
  Json::sax_parse(header.begin(), header.end(), &reader);

  Safetensors result;
  result.metadata_ = std::move(reader.metadata);
  for (const auto& [name, entry] : reader.entries) {
    try {
      result.tensors_.emplace_hint(result.tensors_.end(), name, resolve(entry, data));
    } catch (const Error& error) {
      throw_with_place(fmt::format("tensor {}", quote(name)), error);
    }
  }
  check_contiguous(result.tensors_, data);
  return result;
}

const TensorView& Safetensors::at(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw Error(fmt::format("tensor {} is missing", quote(name)));
  return found->second;
}

void write_safetensors(const std::filesystem::path& path, const Metadata& metadata,
                       const Tensors& tensors) {
  std::vector<const Tensors::value_type*> order;
  order.reserve(tensors.size());
  for (const auto& item : tensors) {
    const HostTensor& tensor = item.second;
    if (item.first == kMetadataKey)
      throw Error(fmt::format("{}: a tensor cannot be called {}", path.string(), kMetadataKey));
    if (static_cast<std::uint64_t>(tensor.count()) * size_of(tensor.dtype) != tensor.bytes.size())
      throw Error(fmt::format("{}: tensor {}: {} bytes of data do not fit {} {}", path.string(),
                              quote(item.first), tensor.bytes.size(), to_string(tensor.dtype),
                              to_string(tensor.shape)));
    order.push_back(&item);
  }
  std::ranges::stable_sort(order, [](const auto* a, const auto* b) {
    return size_of(a->second.dtype) > size_of(b->second.dtype);
  });

  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    auto& texts = json[std::string(kMetadataKey)] = nlohmann::ordered_json::object();
    for (const auto& [key, text] : metadata) texts.push_back({key, text});
  }
  std::string header;
  std::vector<std::span<const std::byte>> parts(2);
  std::size_t offset = 0;
  for (const auto* item : order) {
    const HostTensor& tensor = item->second;
    json.push_back({item->first,
                    {{"dtype", to_string(tensor.dtype)},
                     {"shape", tensor.shape},
                     {"data_offsets", {offset, offset + tensor.bytes.size()}}}});
    offset += tensor.bytes.size();
    parts.emplace_back(tensor.bytes);
  }
  try {
    header = json.dump();
  } catch (const Json::exception&) {
    throw Error(
        fmt::format("{}: cannot write: a name or a metadata text is not UTF-8", path.string()));
  }
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > kMaxHeaderBytes)
    throw Error(fmt::format("{}: cannot write: header of {} bytes is longer than the {} allowed",
                            path.string(), header.size(), kMaxHeaderBytes));
  const std::uint64_t header_bytes = header.size();
  parts[0] = std::as_bytes(std::span(&header_bytes, 1));
  parts[1] = std::as_bytes(std::span(header));
  write_file_atomic(path, parts);
}

}  // namespace offramp::core
