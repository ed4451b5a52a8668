#include "onnx/open_model.h"

#include <google/protobuf/io/coded_stream.h>

#include <limits>
#include <string_view>

#include "core/error.h"
#include "onnx/model_skeleton.h"

namespace offramp::onnx {

int opset_of(const schema::ModelProto& model) {
  for (const schema::OperatorSetIdProto& entry : model.opset_import())
    if ((entry.domain().empty() || entry.domain() == "ai.onnx") && entry.version() >= 1 &&
        entry.version() <= 1000)
      return static_cast<int>(entry.version());
  return 0;
}

ParsedModel parse_model(std::span<const std::byte> bytes) {
  constexpr auto kMaxBytes = static_cast<std::size_t>(std::numeric_limits<int>::max());
  if (bytes.size() > kMaxBytes)
    throw Error("larger than 2 GB, which no ONNX file is; export its weights as external data");
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                               std::min<std::size_t>(bytes.size(), 8));
  if (start.starts_with("PK"))
    throw Error(
        "not an ONNX file but one of torch.save; export the network with torch.onnx.export, or "
        "import it in Python with offramp.from_torch");
  ParsedModel result;
  schema::ModelProto& model = result.proto;
  std::optional<ModelSkeleton> skeleton = skeleton_of(bytes);
  if (skeleton) {
    if (skeleton->num_nodes > kMaxNodes)
      throw Error(fmt::format("the network has more than {} nodes", kMaxNodes));
    bytes = std::as_bytes(std::span(skeleton->bytes));
    result.raw_data = std::move(skeleton->raw_data);
  }
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  stream.SetRecursionLimit(64);
  if (!model.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage() ||
      !model.has_graph() || model.ir_version() < 1)
    throw Error("not an ONNX file, or a damaged one");
  if (model.graph().node_size() == 0) throw Error("the network has no nodes");
  const int opset = opset_of(model);
  if (opset < kOldestOpset || opset > kNewestOpset)
    throw Error(
        fmt::format("opset {}: {} to {} are supported; export it again with torch.onnx.export(…, "
                    "opset_version=17), or convert it with onnx.version_converter",
                    opset, kOldestOpset, kNewestOpset));
  return result;
}

}  // namespace offramp::onnx
