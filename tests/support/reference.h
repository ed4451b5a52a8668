#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/predictor.h"
#include "core/tensor.h"
#include "graph/graph.h"

namespace offramp {

/// The arbiter among the readers of a Graph: plain loops in double, one image at a time, batch norm
/// with its running statistics. Slow; nothing is fused, reordered or approximated.
class ReferencePredictor : public Predictor {
 public:
  using Values = std::vector<double>;

  /// @param weights  one tensor for each of parameters(graph); others are ignored
  /// @throws Error naming a parameter that is missing or has another shape
  ReferencePredictor(Graph graph, const Tensors& weights);

  int num_exits() const override;
  int num_classes() const override { return static_cast<int>(graph_.classes); }
  std::int64_t image_size() const override { return element_count(graph_.input); }
  void run(std::span<const float> images, const ExitVisitor& visit) override;

  /// As predict_all, without rounding to float: [K, N, classes].
  Values logits(std::span<const float> images);

  /// Every tensor of the network for one image [C, H, W], by name, the input included.
  std::map<std::string, Values, std::less<>> tensors(std::span<const float> image);

  /// MACs of every node executed since construction.
  std::int64_t executed_macs() const { return executed_macs_; }

 private:
  using TensorMap = std::map<std::string, Values, std::less<>>;

  TensorMap start(std::span<const float> image) const;
  void execute(const std::vector<Node>& nodes, TensorMap& tensors);
  /// Runs a segment's head; returns its logits.
  const Values& ask(const Segment& segment, TensorMap& tensors);
  std::int64_t count_images(std::span<const float> images) const;
  std::span<const float> image(std::span<const float> images, std::int64_t n) const;

  Graph graph_;
  std::map<std::string, Shape, std::less<>> shapes_;
  TensorMap weights_;
  std::int64_t executed_macs_ = 0;
};

}  // namespace offramp
