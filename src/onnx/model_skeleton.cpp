#include "onnx/model_skeleton.h"

#include <cstdint>
#include <string_view>

namespace offramp::onnx {
namespace {

using Bytes = std::span<const std::byte>;

// Numbers of fields in onnx.proto.
constexpr std::uint64_t kGraph = 7;         // ModelProto
constexpr std::uint64_t kFunction = 25;     // ModelProto
constexpr std::uint64_t kFunctionNode = 7;  // FunctionProto
constexpr std::uint64_t kNode = 1;          // GraphProto
constexpr std::uint64_t kAttribute = 5;     // NodeProto
constexpr std::uint64_t kInnerGraph = 6;    // AttributeProto
constexpr std::uint64_t kInitializer = 5;   // GraphProto
constexpr std::uint64_t kRawData = 9;       // TensorProto
// Types of fields in the protobuf encoding.
constexpr std::uint64_t kVarint = 0, kEightBytes = 1, kMessage = 2, kFourBytes = 5;

constexpr std::size_t kLarge = 4096;  // least size in bytes of raw data that are taken out
constexpr int kMaxDepth = 64;         // deepest nesting of messages, which is that of the parser

/// A field of a message: its number and type, all its bytes, and its content without number and
/// length.
struct Field {
  std::uint64_t number = 0, type = 0;
  Bytes all, content;
  bool is_message(std::uint64_t n) const { return number == n && type == kMessage; }
};

/// Goes through the fields of a message.
class Fields {
 public:
  explicit Fields(Bytes message) : message_(message) {}

  /// Reads the next field. @return false at the end, or if the message is damaged
  bool next(Field& field) {
    const std::size_t begin = at_;
    std::uint64_t tag = 0, size = 0;
    if (at_ == message_.size() || !varint(tag)) return false;
    field.number = tag >> 3;
    field.type = tag & 7;
    if (field.type == kVarint) {
      if (std::uint64_t value = 0; !varint(value)) return false;
    } else if (field.type == kMessage) {
      if (!varint(size)) return false;
    } else if (field.type == kEightBytes || field.type == kFourBytes) {
      size = field.type == kEightBytes ? 8 : 4;
    } else {
      return fail();
    }
    if (size > message_.size() - at_) return fail();
    field.content = message_.subspan(at_, size);
    at_ += size;
    field.all = message_.subspan(begin, at_ - begin);
    return true;
  }

  bool damaged() const { return damaged_; }

 private:
  bool fail() {
    damaged_ = true;
    return false;
  }

  /// Reads an integer of 7 bits per byte, the least significant first.
  bool varint(std::uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && at_ < message_.size(); shift += 7) {
      const auto byte = std::to_integer<std::uint64_t>(message_[at_++]);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return fail();
  }

  Bytes message_;
  std::size_t at_ = 0;
  bool damaged_ = false;
};

void append(std::string& text, Bytes bytes) {
  text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void append_varint(std::string& text, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
  text += static_cast<char>(value);
}

void append_message(std::string& text, std::uint64_t number, std::string_view content) {
  append_varint(text, number << 3 | kMessage);
  append_varint(text, content.size());
  text += content;
}

/// Counts the nodes in a list of nodes and, below it, in the graphs of their attributes.
/// @param number  number of the field that holds the nodes
std::size_t count_nodes(Bytes message, std::uint64_t number, int depth = 0) {
  std::size_t count = 0;
  if (depth > kMaxDepth) return count;  // refused when it is parsed
  Fields fields(message);
  for (Field node; fields.next(node);) {
    if (!node.is_message(number)) continue;
    ++count;
    Fields parts(node.content);
    for (Field attribute; parts.next(attribute);) {
      if (!attribute.is_message(kAttribute)) continue;
      Fields values(attribute.content);
      for (Field value; values.next(value);)
        if (value.is_message(kInnerGraph)) count += count_nodes(value.content, kNode, depth + 3);
    }
  }
  return count;
}

/// Appends an initializer, without its raw data if they are large. @return false if it is damaged
bool append_initializer(std::string& graph, const Field& tensor, Bytes& raw_data) {
  std::string rest;
  Fields fields(tensor.content);
  int count = 0;
  raw_data = {};
  for (Field field; fields.next(field);) {
    if (field.is_message(kRawData) && field.content.size() >= kLarge) {
      raw_data = field.content;
      append_message(rest, kRawData, {});
    } else if (field.all.size() >= kLarge) {
      append(graph, tensor.all);  // values in a list: nothing is taken out
      raw_data = {};
      return !fields.damaged();
    } else {
      append(rest, field.all);
    }
    count += field.number == kRawData;
  }
  append_message(graph, kInitializer, rest);
  return !fields.damaged() && count <= 1;
}

}  // namespace

std::optional<ModelSkeleton> skeleton_of(std::span<const std::byte> file) {
  ModelSkeleton result;
  Fields model(file);
  int graphs = 0;
  for (Field part; model.next(part);) {
    if (part.is_message(kFunction)) result.num_nodes += count_nodes(part.content, kFunctionNode);
    if (part.number != kGraph) {
      append(result.bytes, part.all);
      continue;
    }
    if (part.type != kMessage || ++graphs > 1) return std::nullopt;
    std::string graph;
    result.num_nodes += count_nodes(part.content, kNode);
    Fields fields(part.content);
    for (Field field; fields.next(field);) {
      if (field.is_message(kInitializer)) {
        Bytes raw_data;
        if (!append_initializer(graph, field, raw_data)) return std::nullopt;
        result.raw_data.push_back(raw_data);
      } else {
        if (field.number == kInitializer) return std::nullopt;
        append(graph, field.all);
      }
    }
    if (fields.damaged()) return std::nullopt;
    append_message(result.bytes, kGraph, graph);
  }
  if (model.damaged()) return std::nullopt;
  return result;
}

}  // namespace offramp::onnx
