#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"

namespace offramp::train {

/// The LibTorch reader of a Graph. Holds every parameter as an f32 tensor under its file name;
/// activations are channels last, in f32 or bf16. Batch norm, residual addition and relu run as one
/// where the graph allows.
class TorchNetwork {
 public:
  /// Parameters are initialised from `seed`: He (fan out) for convolutions, uniform(±1/√fan in) for
  /// linear layers and biases, norms one and zero, as torchvision's ResNet.
  TorchNetwork(Graph graph, torch::Device device, std::uint64_t seed);

  // Steps point into the graph: moved along, not copied.
  TorchNetwork(TorchNetwork&&) = default;
  TorchNetwork(const TorchNetwork&) = delete;

  const Graph& graph() const { return graph_; }
  int num_exits() const { return static_cast<int>(exits_.size()); }
  torch::Device device() const { return device_; }

  /// Parameters and running statistics by name; tensors share the network's storage.
  const std::map<std::string, torch::Tensor>& tensors() const { return tensors_; }
  /// Descriptions in the order of parameters(graph).
  const std::vector<Parameter>& parameters() const { return parameters_; }

  /// Copies weights in. Names that the network lacks are an Error; names not given stay as they
  /// are.
  void load(const Tensors& weights);
  /// Copies of all weights, f32, row-major.
  Tensors save() const;

  struct Mode {
    bool training = false;         ///< batch norm uses and updates batch statistics
    bool frozen_backbone = false;  ///< with training: only heads before the last exit train
    bool last_exit_only = false;   ///< early heads are not run
    bool gradient_equilibrium = false;
    torch::ScalarType precision = torch::kFloat;  ///< of convolutions and activations
  };

  /// Runs every segment and head. @param images [N, C, H, W] f32  @return [K] logits [N, classes]
  /// f32, undefined where a head was not run
  std::vector<torch::Tensor> forward(const torch::Tensor& images, const Mode& mode);

  /// Named tensors on their way from one segment to the next.
  using State = std::map<std::string, torch::Tensor, std::less<>>;
  /// The state before the first segment.
  State start(const torch::Tensor& images, const Mode& mode) const;
  /// Runs the body of segment `index`; the state then holds what it hands on and the head's
  /// feature.
  void run_body(int index, State& state, const Mode& mode);
  /// Logits of the head after segment `index`.
  torch::Tensor run_head(int index, const State& state, const Mode& mode);

 private:
  // A node, with the batch norm's follow-up operations drawn into it.
  struct Step {
    const Node* node = nullptr;
    std::vector<std::string> inputs;
    std::string output;
    std::string residual;                // batch norm: added before the activation
    bool relu = false;                   // batch norm: followed by a relu
    std::vector<std::string> last_uses;  // tensors nobody needs afterwards
  };
  static std::vector<Step> plan(const std::vector<Node>& nodes,
                                const std::vector<std::string>& kept);
  void run(const std::vector<Step>& steps, State& state, const Mode& mode, bool training);
  torch::Tensor execute(const Step& step, const State& state, const Mode& mode, bool training);

  Graph graph_;
  torch::Device device_;
  std::vector<Parameter> parameters_;
  std::map<std::string, torch::Tensor> tensors_;
  std::vector<int> exits_;
  std::vector<std::vector<Step>> bodies_, heads_;
};

}  // namespace offramp::train
