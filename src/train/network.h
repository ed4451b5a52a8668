#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "train/batch_norm.h"

namespace offramp::train {

/// Executes a Graph with LibTorch, forward and backward. It holds every parameter as an f32 tensor
/// under its name in model files; activations are channels last, in f32 or bf16. Where the graph
/// allows, a batch norm, an addition and a relu run as one operation.
class TorchNetwork {
 public:
  /// Initialises the parameters from `seed` like torchvision's ResNet: He (fan out) for
  /// convolutions, uniform(±1/√fan in) for linear layers and biases, weight one and bias zero for
  /// batch norms.
  TorchNetwork(graph::Graph graph, torch::Device device, std::uint64_t seed);

  // The class is not copyable: the steps hold pointers into the graph's vectors, which stay valid
  // in a move.
  TorchNetwork(TorchNetwork&&) = default;
  TorchNetwork(const TorchNetwork&) = delete;

  const graph::Graph& graph() const { return graph_; }
  int num_exits() const { return static_cast<int>(exits_.size()); }
  torch::Device device() const { return device_; }

  /// Parameters and running statistics by name. The tensors share storage with the network.
  const std::map<std::string, torch::Tensor>& tensors() const { return tensors_; }
  /// Descriptions of the parameters, in the order of parameters(graph).
  const std::vector<graph::Parameter>& parameters() const { return parameters_; }

  /// Copies weights into the network. Parameters that `weights` does not contain are unchanged.
  /// @throws Error if `weights` has a name that the network lacks, or another shape
  void load(const core::Tensors& weights);
  /// Returns copies of all weights and running statistics, f32, row-major.
  core::Tensors save() const;

  /// How a network is executed.
  struct Mode {
    bool training = false;  ///< batch norm uses the batch's statistics and updates the running ones
    bool frozen_backbone = false;  ///< in training, only the heads before the last exit are trained
    bool last_exit_only = false;   ///< heads of early exits are not run
    bool gradient_equilibrium = false;  ///< rescales gradients (Li et al., 2019, equation 4)
    torch::ScalarType precision = torch::kFloat;  ///< type of convolutions and activations
    /// With training: batch norms use the images of all processes through it; null: only those of
    /// this process.
    MomentsExchange* moments = nullptr;
  };

  /// Runs every segment and head.
  /// @param images  [N, C, H, W] f32
  /// @return [K] logits [N, classes] f32; undefined where a head was not run
  std::vector<torch::Tensor> forward(const torch::Tensor& images, const Mode& mode);

  /// The tensors that one segment passes to the next, by name.
  using State = std::map<std::string, torch::Tensor, std::less<>>;
  /// Runs every segment, but no head, without recording operations for gradients.
  /// @return [K] for each exit the feature that its head reads, for run_head()
  std::vector<State> features(const torch::Tensor& images, const Mode& mode);
  /// Returns the state before the first segment. @param images  [N, C, H, W] f32
  State start(const torch::Tensor& images, const Mode& mode) const;
  /// Runs the body of segment `index`. Afterwards the state holds the outputs of the segment and
  /// the feature that its head reads.
  void run_body(int index, State& state, const Mode& mode);
  /// Returns the logits [N, classes] of the head after segment `index`.
  torch::Tensor run_head(int index, const State& state, const Mode& mode);

 private:
  // One operation to execute: a node, or a batch norm together with the addition and relu that
  // follow it.
  struct Step {
    const graph::Node* node = nullptr;
    std::vector<std::string> inputs;
    std::string output;
    std::string residual;                // batch norm: the tensor added before the activation
    bool relu = false;                   // batch norm: whether a relu follows
    std::vector<std::string> last_uses;  // tensors that no later step reads
  };
  static std::vector<Step> plan(const std::vector<graph::Node>& nodes,
                                const std::vector<std::string>& needed_outputs);
  void run(const std::vector<Step>& steps, State& state, const Mode& mode, bool training);
  torch::Tensor execute(const Step& step, const State& state, const Mode& mode, bool training);

  graph::Graph graph_;
  torch::Device device_;
  std::vector<graph::Parameter> parameters_;
  std::map<std::string, torch::Tensor> tensors_;
  std::vector<int> exits_;
  std::vector<std::vector<Step>> bodies_, heads_;
};

}  // namespace offramp::train
