#include "runtime/ranges.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <set>

#include "core/error.h"
#include "core/overloaded.h"
#include "runtime/compile.h"
#include "runtime/convolution.h"
#include "runtime/onednn.h"
#include "runtime/workspace.h"

namespace offramp {
namespace {

constexpr int kBatch = 8;
constexpr std::size_t kBins = 2048;

/// What one tensor's values are like.
struct Values {
  float least = 0, most = 0;
  bool finite = true;
  std::array<std::int64_t, kBins> bins{};  ///< of |x| in [0, largest], zeros left out

  float largest() const { return std::max(-least, most); }
  /// A tenth of it may be what is kept.
  bool is_counted() const { return largest() > 10 * kLeastMagnitude; }

  void widen(std::span<const float> values) {
    for (const float value : values) {
      least = std::min(least, value);
      most = std::max(most, value);
      finite &= std::isfinite(value);
    }
  }

  void count(std::span<const float> values) {
    const float per_bin = static_cast<float>(kBins) / largest();
    for (const float value : values) {
      if (value == 0) continue;
      const auto bin = static_cast<std::size_t>(std::abs(value) * per_bin);
      ++bins[std::min(bin, kBins - 1)];
    }
  }

  /// The magnitude of least squared error.
  float best_magnitude(int levels) const {
    const double width = largest() / static_cast<double>(kBins);
    std::size_t best = kBins;
    double least_error = std::numeric_limits<double>::infinity();
    for (std::size_t kept = kBins / 8; kept <= kBins; kept += kBins / 256) {
      const double magnitude = width * static_cast<double>(kept);
      const double step = magnitude / levels;
      double error = 0;
      for (std::size_t i = 0; i < kBins; ++i) {
        const double beyond = (static_cast<double>(i) + 0.5) * width - magnitude;
        error += static_cast<double>(bins[i]) * (i < kept ? step * step / 12 : beyond * beyond);
      }
      if (error >= least_error) continue;
      least_error = error;
      best = kept;
    }
    return static_cast<float>(width * static_cast<double>(best));
  }
};

using Look = std::function<void(const std::string& tensor, std::span<const float> values)>;

/// Runs batches of images through all of a network, one operation after the other.
class Observer {
 public:
  Observer(const Graph& graph, const Tensors& weights, int threads) {
    WeightStore store;
    network_ = compile(graph, weights, {Precision::f32, {kBatch}, threads}, store);
    workspace_ = std::make_unique<Workspace>(network_);
  }

  void run(std::span<const float> images, const Look& look) {
    const auto size = static_cast<std::size_t>(element_count(network_->input));
    const auto count = images.size() / size;
    look(std::string(kInput), images);
    for (std::size_t begin = 0; begin < count; begin += kBatch) {
      const std::size_t rows = std::min<std::size_t>(kBatch, count - begin);
      // The last batch is filled up with images that were seen before: no value is new.
      for (std::size_t row = 0; row < kBatch; ++row)
        workspace_->put_image(0, static_cast<int>(row),
                              images.subspan((begin + row % rows) * size, size));
      for (std::size_t stage = 0; stage < network_->stages.size(); ++stage) run(stage, look);
    }
  }

 private:
  void run(std::size_t stage, const Look& look) {
    const CompiledStage& compiled = network_->stages[stage];
    const std::size_t size = compiled.sizes.size() - 1;
    const CompiledSegment& segment = compiled.sizes[size];
    const auto run_steps = [&](const std::vector<Step>& steps, Workspace::Operations operations) {
      for (std::size_t i = 0; i < steps.size(); ++i) {
        operations[i]->run();
        const Value& dst = segment.values[static_cast<std::size_t>(steps[i].dst)];
        if (dst.layout.shape.size() != 3) continue;
        const auto* values =
            reinterpret_cast<const float*>(workspace_->value(stage, size, 0, steps[i].dst));
        look(dst.name, {values, static_cast<std::size_t>(dst.layout.elements()) * kBatch});
      }
    };
    run_steps(segment.body, workspace_->body(stage, size, 0));
    if (!segment.head.empty()) run_steps(segment.head, workspace_->head(stage, size, 0));
    if (stage + 1 == network_->stages.size()) return;
    const std::vector<Layout>& next = network_->stages[stage + 1].inputs;
    for (std::size_t i = 0; i < next.size(); ++i)
      for (int row = 0; row < kBatch; ++row)
        std::memcpy(workspace_->input_row(stage + 1, 0, i, row),
                    workspace_->output_row(stage, size, 0, i, row), next[i].bytes());
  }

  std::shared_ptr<const CompiledNetwork> network_;
  std::unique_ptr<Workspace> workspace_;
};

/// Sets of tensors that share their elements.
class Ties {
 public:
  /// Paths are halved on the way: a chain of pools is as long as the network.
  std::string root(std::string tensor) {
    for (auto at = parent_.find(tensor); at != parent_.end(); at = parent_.find(tensor)) {
      if (const auto above = parent_.find(at->second); above != parent_.end())
        at->second = above->second;
      tensor = at->second;
    }
    return tensor;
  }
  void tie(const std::string& a, const std::string& b) {
    const std::string x = root(a), y = root(b);
    if (x != y) parent_[x] = y;
  }

 private:
  std::map<std::string, std::string> parent_;
};

/// What an operation's output is in int8.
enum class Output {
  own_scale,     ///< an image with a scale of its own
  inputs_scale,  ///< an image that has one scale with the inputs
  features,      ///< in f32
};

Output output_of(const LoweredKind& kind) {
  return std::visit(
      overloaded{
          [](const OneOf<FusedConv, Scale, FusedAdd, Activate> auto&) { return Output::own_scale; },
          [](const OneOf<MaxPool, AvgPool, Concat> auto&) { return Output::inputs_scale; },
          [](const OneOf<GlobalAvgPool, SpatialPyramidPool, Flatten, FusedLinear> auto&) {
            return Output::features;
          },
      },
      kind);
}

}  // namespace

Ranges observe_ranges(const Graph& graph, const Tensors& weights, std::span<const float> images,
                      int threads) {
  if (images.empty()) throw Error("no images to observe the ranges of activations on");
  return translate_onednn_errors([&] {
    const OmpThreads omp(threads);
    Observer observer(graph, weights, threads);
    std::map<std::string, Values> seen;
    observer.run(images, [&](const std::string& tensor, std::span<const float> values) {
      seen[tensor].widen(values);
    });
    for (const auto& [tensor, values] : seen)
      if (!values.finite || values.largest() > kMostMagnitude)
        throw Error(
            "tensor \"{}\": a value is larger than {:g} or not finite: int8 has no range for it",
            tensor, kMostMagnitude);
    observer.run(images, [&](const std::string& tensor, std::span<const float> values) {
      if (Values& one = seen[tensor]; one.is_counted()) one.count(values);
    });
    Ranges ranges;
    for (const auto& [tensor, values] : seen) {
      const bool is_signed = values.least < 0 || tensor == kInput;
      // A tensor that is all but zero may have any range.
      const float magnitude =
          values.is_counted() ? values.best_magnitude(is_signed ? 127 : 255) : 1;
      ranges[tensor] = {magnitude, is_signed};
    }
    return ranges;
  });
}

std::map<std::string, Element, std::less<>> quantised_elements(
    const std::vector<LoweredSegment>& network, const Ranges& ranges) {
  if (ranges.empty())
    throw Error("int8 needs the ranges of activations, which \"offramp quantize\" finds");
  Ties ties;
  std::vector<std::string> tensors = {std::string(kInput)};
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
          for (const std::string& input : op.inputs) ties.tie(input, op.output);
      }
  std::map<std::string, Range> joint;
  for (const std::string& tensor : tensors) {
    const auto found = ranges.find(tensor);
    if (found == ranges.end()) throw Error("tensor \"{}\" has no range", tensor);
    if (!(found->second.magnitude >= kLeastMagnitude && found->second.magnitude <= kMostMagnitude))
      throw Error("tensor \"{}\": its range must be a number from {:g} to {:g}, got {}", tensor,
                  kLeastMagnitude, kMostMagnitude, found->second.magnitude);
    Range& range = joint[ties.root(tensor)];
    range.magnitude = std::max(range.magnitude, found->second.magnitude);
    range.is_signed |= found->second.is_signed;
  }
  std::map<std::string, Element, std::less<>> elements;
  for (const std::string& tensor : tensors) {
    const Range& range = joint[ties.root(tensor)];
    elements[tensor] = range.is_signed ? Element{DType::i8, range.magnitude / 127}
                                       : Element{DType::u8, range.magnitude / 255};
  }
  return elements;
}

}  // namespace offramp
