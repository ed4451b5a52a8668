#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/predictor.h"
#include "core/tensor.h"
#include "graph/graph.h"

namespace offramp {

/// The reference for all readers of a Graph: it executes a graph with plain loops in double, one
/// image at a time, with the running statistics of batch norms. It is slow, but fuses, reorders and
/// approximates nothing.
class ReferencePredictor : public core::Predictor {
 public:
  using Values = std::vector<double>;

  /// @param weights  one tensor for each of parameters(graph); others are ignored
  /// @throws Error that names a parameter which is missing or has another shape
  ReferencePredictor(graph::Graph graph, const core::Tensors& weights);

  int num_exits() const override;
  int num_classes() const override { return static_cast<int>(graph_.classes); }
  std::int64_t image_size() const override { return core::element_count(graph_.input); }
  void run(std::span<const float> images, const core::ExitVisitor& visit) override;

  /// The logits [K, N, classes] of predict_all, but not rounded to float.
  Values logits(std::span<const float> images);

  /// Returns every tensor of the network for one image [C, H, W] by its name, with the input.
  std::map<std::string, Values, std::less<>> tensors(std::span<const float> image);

  /// MACs of all nodes that were executed since the construction.
  std::int64_t executed_macs() const { return executed_macs_; }

 private:
  using TensorMap = std::map<std::string, Values, std::less<>>;

  TensorMap start(std::span<const float> image) const;
  void execute(const std::vector<graph::Node>& nodes, TensorMap& tensors);
  /// Runs the head of a segment and returns its logits.
  const Values& run_head(const graph::Segment& segment, TensorMap& tensors);
  std::int64_t count_images(std::span<const float> images) const;
  std::span<const float> image(std::span<const float> images, std::int64_t n) const;

  graph::Graph graph_;
  std::map<std::string, graph::Shape, std::less<>> shapes_;
  TensorMap weights_;
  std::int64_t executed_macs_ = 0;
};

}  // namespace offramp
