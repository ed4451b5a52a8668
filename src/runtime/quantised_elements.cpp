#include "runtime/quantised_elements.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/overloaded.h"

namespace offramp::runtime {
namespace {

/// Disjoint sets of tensors. The tensors of a set share one scale.
class SharedScaleSets {
 public:
  /// Returns the representative of a tensor's set. Paths are halved on the way, because a chain of
  /// pools can be as long as the network.
  std::string root(std::string tensor) {
    for (auto at = parent_.find(tensor); at != parent_.end(); at = parent_.find(tensor)) {
      if (const auto above = parent_.find(at->second); above != parent_.end())
        at->second = above->second;
      tensor = at->second;
    }
    return tensor;
  }
  void merge(const std::string& a, const std::string& b) {
    const std::string x = root(a), y = root(b);
    if (x != y) parent_[x] = y;
  }

 private:
  std::map<std::string, std::string> parent_;
};

/// How an operation's output is represented in int8.
enum class Output {
  own_scale,     ///< an image with a scale of its own
  inputs_scale,  ///< an image that shares one scale with the operation's inputs
  features,      ///< features in f32
};

Output output_of(const LoweredKind& kind) {
  return std::visit(
      core::overloaded{
          [](const core::OneOf<FusedConv, Scale, FusedLayerNorm, FusedAdd, Activate,
                               graph::Multiply> auto&) { return Output::own_scale; },
          [](const core::OneOf<graph::MaxPool, graph::AvgPool, graph::AdaptiveAvgPool,
                               graph::Concat, graph::Slice, graph::ChannelShuffle> auto&) {
            return Output::inputs_scale;
          },
          [](const core::OneOf<graph::GlobalAvgPool, graph::SpatialPyramidPool, graph::Flatten,
                               FusedLinear> auto&) { return Output::features; },
      },
      kind);
}

}  // namespace

std::map<std::string, Element, std::less<>> quantised_elements(
    const std::vector<LoweredSegment>& network, const model::ActivationRanges& ranges) {
  if (ranges.empty())
    throw Error(
        "int8 needs the ranges of activations; \"offramp quantize\" writes a file with them");
  SharedScaleSets shared_scales;
  std::vector<std::string> tensors = {std::string(graph::kInput)};
  std::set<std::string, std::less<>> features;
  for (const LoweredSegment& segment : network)
    for (const auto* ops : {&segment.body, &segment.head})
      for (const LoweredOp& op : *ops) {
        const Output output = output_of(op.kind);
        if (output == Output::features || features.contains(op.inputs[0])) {
          features.insert(op.output);
          continue;
        }
        tensors.push_back(op.output);
        if (output == Output::inputs_scale)
          for (const std::string& input : op.inputs) shared_scales.merge(input, op.output);
      }
  std::map<std::string, model::ActivationRange> joint;
  for (const std::string& tensor : tensors) {
    const auto found = ranges.find(tensor);
    if (found == ranges.end()) throw Error(fmt::format("tensor \"{}\" has no range", tensor));
    if (!(found->second.magnitude >= model::kMinMagnitude &&
          found->second.magnitude <= model::kMaxMagnitude))
      throw Error(fmt::format("tensor \"{}\": its range must be a number from {:g} to {:g}, got {}",
                              tensor, model::kMinMagnitude, model::kMaxMagnitude,
                              found->second.magnitude));
    model::ActivationRange& range = joint[shared_scales.root(tensor)];
    range.magnitude = std::max(range.magnitude, found->second.magnitude);
    range.is_signed |= found->second.is_signed;
  }
  std::map<std::string, Element, std::less<>> elements;
  for (const std::string& tensor : tensors) {
    const model::ActivationRange& range = joint[shared_scales.root(tensor)];
    elements[tensor] = range.is_signed ? Element{core::DType::i8, range.magnitude / 127}
                                       : Element{core::DType::u8, range.magnitude / 255};
  }
  return elements;
}

}  // namespace offramp::runtime
