#include "train/network.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "tests/support/graphs.h"
#include "tests/support/random_graph.h"
#include "tests/support/reference.h"
#include "tests/support/relative_error.h"
#include "train/predictor.h"
#include "train/torch_setup.h"

namespace offramp::train {
namespace {

model::ModelFile model_of(const graph::Graph& graph, std::uint64_t seed) {
  model::ModelFile model;
  model.graph = graph;
  model.weights = graph::random_weights(graph, seed);
  return model;
}

struct Tolerance {
  recipe::PrecisionChoice precision;
  // f32: about 20 layers of sums over at most 4,608 terms, each term rounded to 2^-24, errors
  // adding as their root: 20 sqrt(4608) 2^-24 ≈ 8e-5. bf16: 20 roundings of activations and weights
  // to 2^-9, adding as their root, is 1.7e-2 of a typical logit; the largest error of all logits is
  // some times that. A layer norm over few channels divides by their
  // deviation, which multiplies the errors of what comes before it: up to 4.2e-4 in f32.
  double bound, bound_of_norms;
};

bool has_layer_norm(const graph::Graph& graph) {
  for (const graph::Segment& segment : graph.segments)
    for (const auto* nodes : {&segment.nodes, &segment.head})
      for (const graph::Node& node : *nodes)
        if (std::holds_alternative<graph::LayerNorm>(node.op)) return true;
  return false;
}

class Parity : public testing::TestWithParam<Tolerance> {};

TEST_P(Parity, LogitsOfEveryExitAgreeWithTheReference) {
  std::vector<graph::Graph> graphs = example_graphs();
  for (std::uint64_t seed = 0; seed < 30; ++seed) graphs.push_back(random_graph(seed));
  for (const graph::Graph& graph : graphs) {
    const model::ModelFile model = model_of(graph, 11);
    for (const int count : {1, 3}) {
      const auto images = graph::random_images(graph, count, 5);
      ReferencePredictor reference(graph, model.weights);
      const auto ours = make_torch_predictor(model, {2, GetParam().precision, "cpu"});
      const double error =
          test::relative_error(ours->predict_all(images), reference.logits(images));
      EXPECT_LT(error, has_layer_norm(graph) ? GetParam().bound_of_norms : GetParam().bound)
          << graph.name << ", " << count << " images";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, Parity,
                         testing::Values(Tolerance{recipe::PrecisionChoice::f32, 8e-5, 8e-4},
                                         Tolerance{recipe::PrecisionChoice::bf16, 8e-2, 8e-2}));

TEST(Network, AgreesWithTheReferenceOnTheImagenetStem) {
  graph::NetworkSpec spec;
  spec.backbone = "resnet34";
  spec.options = {{3, 65, 47}, 13, graph::Stem::imagenet, 8};
  spec.exits = {"3", "60%"};
  spec.heads = {"conv-spp"};
  spec.spp_levels = {1, 3};
  const model::ModelFile model = model_of(graph::build_network(spec), 2);
  const auto images = graph::random_images(model.graph, 2, 3);
  ReferencePredictor reference(model.graph, model.weights);
  const auto ours = make_torch_predictor(model, {});
  EXPECT_LT(test::relative_error(ours->predict_all(images), reference.logits(images)), 8e-5);
}

TEST(Network, StoppingGivesTheLogitsThatRunningEverythingGives) {
  for (const graph::Graph& graph : example_graphs()) {
    const model::ModelFile model = model_of(graph, 4);
    const auto predictor = make_torch_predictor(model, {});
    const int n = 7, exits = predictor->num_exits(), classes = predictor->num_classes();
    const auto images = graph::random_images(graph, n, 8);
    const auto all = predictor->predict_all(images);
    // Image i stops at exit i mod K.
    const core::StoppedImages stopped =
        predictor->predict_until(images, [&](std::int64_t image, const core::ExitOutput& output) {
          return image % exits <= output.exit_index;
        });
    for (int i = 0; i < n; ++i) {
      ASSERT_EQ(stopped.exit_index[static_cast<std::size_t>(i)], i % exits) << graph.name;
      const auto start = static_cast<std::size_t>(i * classes);
      const std::span<const float> got(stopped.logits.data() + start,
                                       static_cast<std::size_t>(classes));
      const std::span<const float> expected(
          all.data() + static_cast<std::size_t>((i % exits) * n) * classes + start,
          static_cast<std::size_t>(classes));
      EXPECT_LT(test::relative_error(got, expected), 1e-5) << graph.name << ", image " << i;
    }
  }
}

TEST(Network, AsksNoLaterExitAboutAnImageThatLeft) {
  const model::ModelFile model = model_of(small_resnet(), 4);
  const auto predictor = make_torch_predictor(model, {});
  std::vector<std::pair<std::int64_t, int>> asked;
  const core::StoppedImages stopped =
      predictor->predict_until(graph::random_images(model.graph, 3, 1),
                               [&](std::int64_t image, const core::ExitOutput& output) {
                                 asked.emplace_back(image, output.exit_index);
                                 return image != 1;
                               });
  EXPECT_EQ(asked,
            (std::vector<std::pair<std::int64_t, int>>{{0, 0}, {1, 0}, {2, 0}, {1, 1}, {1, 2}}));
  EXPECT_EQ(stopped.exit_index, (std::vector<int>{0, 2, 0}));
}

TEST(Network, RefusesImagesThatAreNotWhole) {
  const model::ModelFile model = model_of(small_resnet(), 4);
  const auto predictor = make_torch_predictor(model, {});
  EXPECT_THROW(predictor->predict_all(std::vector<float>(100)), Error);
}

TEST(Network, SavesWhatItLoaded) {
  for (const graph::Graph& graph : example_graphs()) {
    const core::Tensors weights = graph::random_weights(graph, 9);
    TorchNetwork network(graph, torch::kCPU, 1);
    network.load(weights);
    EXPECT_EQ(network.save(), weights) << graph.name;
  }
}

TEST(Network, StartsFromTheSameBackboneWithAndWithoutExits) {
  graph::NetworkSpec spec;
  spec.options.width = 8;
  const core::Tensors plain = TorchNetwork(graph::build_network(spec), torch::kCPU, 5).save();
  spec.exits = {"2"};
  const core::Tensors with_exit = TorchNetwork(graph::build_network(spec), torch::kCPU, 5).save();
  for (const auto& [name, tensor] : plain) EXPECT_EQ(with_exit.at(name), tensor) << name;
  EXPECT_GT(with_exit.size(), plain.size());
}

TEST(Network, InitialisesConvolutionsAsHeEtAl) {
  graph::NetworkSpec spec;
  spec.options.width = 32;
  const TorchNetwork network(graph::build_network(spec), torch::kCPU, 5);
  const torch::Tensor weight =
      network.tensors().at("layer1.0.conv1.weight");  // fan out: 32 × 3 × 3
  EXPECT_NEAR(weight.std().item<double>(), std::sqrt(2.0 / 288), 2e-3);
  EXPECT_NEAR(weight.mean().item<double>(), 0, 3e-3);
  EXPECT_EQ(network.tensors().at("bn1.weight").min().item<double>(), 1);
  EXPECT_LE(network.tensors().at("fc.weight").abs().max().item<double>(), 1 / std::sqrt(256.0));
}

TEST(Network, GradientEquilibriumHalvesWhatTwoExitsSendIntoTheSharedLayers) {
  // With 2 exits, at exit 1 both the head's and the deeper network's share are 1/2: gradients of
  // the first segment are half of the plain sum, those behind it are unchanged.
  graph::NetworkSpec spec;
  spec.options.width = 4;
  spec.exits = {"4"};
  torch::Tensor images = torch::randn({4, 3, 32, 32});
  std::map<std::string, torch::Tensor> gradients[2];
  for (const bool equilibrium : {false, true}) {
    TorchNetwork network(graph::build_network(spec), torch::kCPU, 5);
    TorchNetwork::Mode mode;
    mode.training = true;
    mode.gradient_equilibrium = equilibrium;
    const auto logits = network.forward(images, mode);
    (logits[0].square().sum() + logits[1].square().sum()).backward();
    for (const auto& [name, tensor] : network.tensors())
      if (tensor.grad().defined()) gradients[equilibrium][name] = tensor.grad().clone();
  }
  for (const graph::Parameter& p : parameters(graph::build_network(spec))) {
    if (!p.trained()) continue;
    const double factor = p.segment == 0 && !p.in_head ? 0.5 : 1;
    EXPECT_TRUE(
        torch::allclose(gradients[1].at(p.name), factor * gradients[0].at(p.name), 1e-4, 1e-4))
        << p.name;
  }
}

}  // namespace
}  // namespace offramp::train
