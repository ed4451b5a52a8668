#include "runtime/activation_ranges.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>

#include "core/error.h"
#include "runtime/compile.h"
#include "runtime/onednn.h"
#include "runtime/workspace.h"

namespace offramp::runtime {
namespace {

constexpr int kBatch = 8;
constexpr std::size_t kBins = 2048;

/// The least and the greatest value and a histogram of the values of one tensor.
struct ValueHistogram {
  float least = 0, most = 0;
  bool finite = true;
  std::array<std::int64_t, kBins> bins{};  ///< histogram of |x| in [0, largest()], without zeros

  float largest() const { return std::max(-least, most); }
  /// Whether the values are large enough for a histogram. best_magnitude() may choose a magnitude
  /// of an eighth of the largest value, which must be at least kMinMagnitude.
  bool is_counted() const { return largest() > 10 * model::kMinMagnitude; }

  void update_bounds(std::span<const float> values) {
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

  /// The magnitude with the least squared error of quantisation to this number of levels.
  float best_magnitude(int levels) const {
    const double width = largest() / static_cast<double>(kBins);
    std::size_t best = kBins;
    double least_error = std::numeric_limits<double>::infinity();
    for (std::size_t num_kept_bins = kBins / 8; num_kept_bins <= kBins;
         num_kept_bins += kBins / 256) {
      const double magnitude = width * static_cast<double>(num_kept_bins);
      const double step = magnitude / levels;
      double error = 0;
      for (std::size_t i = 0; i < kBins; ++i) {
        const double beyond = (static_cast<double>(i) + 0.5) * width - magnitude;
        error +=
            static_cast<double>(bins[i]) * (i < num_kept_bins ? step * step / 12 : beyond * beyond);
      }
      if (error >= least_error) continue;
      least_error = error;
      best = num_kept_bins;
    }
    return static_cast<float>(width * static_cast<double>(best));
  }
};

using TensorCallback =
    std::function<void(const std::string& tensor, std::span<const float> values)>;

/// Runs batches of images through all operations of a network and passes the values of every image
/// tensor to a callback.
class Observer {
 public:
  Observer(const graph::Graph& graph, const core::Tensors& weights, int threads) {
    WeightStore store;
    network_ = compile(graph, weights, {Precision::f32, {kBatch}, threads}, store);
    workspace_ = std::make_unique<Workspace>(network_);
  }

  void run(std::span<const float> images, const TensorCallback& on_tensor) {
    const auto size = static_cast<std::size_t>(core::element_count(network_->input));
    const auto count = images.size() / size;
    on_tensor(std::string(graph::kInput), images);
    for (std::size_t begin = 0; begin < count; begin += kBatch) {
      const std::size_t rows = std::min<std::size_t>(kBatch, count - begin);
      // The last batch is padded with copies of its own images, which adds no new values.
      for (std::size_t row = 0; row < kBatch; ++row)
        workspace_->put_image(0, static_cast<int>(row),
                              images.subspan((begin + row % rows) * size, size));
      for (std::size_t stage = 0; stage < network_->stages.size(); ++stage) run(stage, on_tensor);
    }
  }

 private:
  void run(std::size_t stage, const TensorCallback& on_tensor) {
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
        on_tensor(dst.name, {values, static_cast<std::size_t>(dst.layout.elements()) * kBatch});
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

}  // namespace

model::ActivationRanges observe_ranges(const graph::Graph& graph, const core::Tensors& weights,
                                       std::span<const float> images, int threads) {
  if (images.empty()) throw Error("no images to observe the ranges of activations on");
  return translate_onednn_errors([&] {
    const OmpThreads omp(threads);
    Observer observer(graph, weights, threads);
    std::map<std::string, ValueHistogram> seen;
    observer.run(images, [&](const std::string& tensor, std::span<const float> values) {
      seen[tensor].update_bounds(values);
    });
    for (const auto& [tensor, values] : seen)
      if (!values.finite || values.largest() > model::kMaxMagnitude)
        throw Error(fmt::format(
            "tensor \"{}\": a value is larger than {:g} or not finite and has no range in int8",
            tensor, model::kMaxMagnitude));
    observer.run(images, [&](const std::string& tensor, std::span<const float> values) {
      if (ValueHistogram& one = seen[tensor]; one.is_counted()) one.count(values);
    });
    model::ActivationRanges ranges;
    for (const auto& [tensor, values] : seen) {
      const bool is_signed = values.least < 0 || tensor == graph::kInput;
      // A tensor whose values are almost zero gets the magnitude 1: any range would do.
      const float magnitude =
          values.is_counted() ? values.best_magnitude(is_signed ? 127 : 255) : 1;
      ranges[tensor] = {magnitude, is_signed};
    }
    return ranges;
  });
}

}  // namespace offramp::runtime
