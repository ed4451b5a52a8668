#include "onnx/write_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "core/file.h"
#include "graph/random_weights.h"
#include "onnx/open_model.h"
#include "onnx/read_network.h"
#include "tests/support/graphs.h"
#include "tests/support/message_of.h"
#include "tests/support/reference.h"
#include "tests/support/relative_error.h"

namespace offramp::onnx {
namespace {

using testing::HasSubstr;

model::ModelFile model_of(const graph::Graph& graph) {
  model::ModelFile model;
  model.graph = graph;
  model.weights = graph::random_weights(graph, 1);
  for (std::int64_t i = 0; i < graph.classes; ++i)
    model.classes.push_back("class " + std::to_string(i));
  model.preprocessing.height = static_cast<int>(graph.input[1]);
  model.preprocessing.width = static_cast<int>(graph.input[2]);
  return model;
}

/// A convolution of images of side × side pixels, and a head.
graph::Graph with_head(int side, std::vector<graph::Node> head) {
  graph::Segment segment{.name = "network",
                         .nodes = {{"conv", graph::Conv{.out_channels = 5}, {"input"}}},
                         .outputs = {"conv"},
                         .feature = "conv",
                         .head = std::move(head)};
  return {.name = "pools", .input = {3, side, side}, .classes = 4, .segments = {segment}};
}

graph::Graph pyramid(const std::vector<int>& levels, int side) {
  return with_head(side, {{"pool", graph::SpatialPyramidPool{.levels = levels}, {"conv"}},
                          {"fc", graph::Linear{.out_features = 4, .bias = true}, {"pool"}}});
}

graph::Graph adaptive_pool(int side) {
  return with_head(side, {{"pool", graph::AdaptiveAvgPool{.grid = {3, 2}}, {"conv"}},
                          {"flat", graph::Flatten{}, {"pool"}},
                          {"fc", graph::Linear{.out_features = 4, .bias = true}, {"flat"}}});
}

schema::ModelProto parsed(const std::string& bytes) {
  return parse_model(std::as_bytes(std::span(bytes))).proto;
}

/// Counts the nodes of each type in a graph and, below it, in the branches of its Ifs.
void count_nodes(const schema::GraphProto& graph, std::map<std::string, int>& counts) {
  for (const schema::NodeProto& node : graph.node()) {
    ++counts[node.op_type()];
    for (const schema::AttributeProto& attribute : node.attribute())
      if (attribute.has_g()) count_nodes(attribute.g(), counts);
  }
}

TEST(WriteNetwork, NestsTheRestOfTheNetworkInTheSecondBranchOfAnIf) {
  model::ModelFile model = model_of(small_resnet());
  policy::Policy policy = policy::never_stop(3);
  policy.thresholds = {0.9f, 0.8f};
  model.policy = policy::ChosenPolicy{.policy = policy};
  const schema::ModelProto file = parsed(network_as_onnx(model, Form::conditional));
  const auto decision = [](const schema::GraphProto& graph) -> const schema::NodeProto* {
    for (const schema::NodeProto& node : graph.node())
      if (node.op_type() == "If") return &node;
    return nullptr;
  };
  const schema::NodeProto* first = decision(file.graph());
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(decision(first->attribute(0).g()), nullptr);
  const schema::NodeProto* second = decision(first->attribute(1).g());
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(decision(second->attribute(1).g()), nullptr);
  // The convolutions are spread over the three graphs: what comes after an exit is in its branch.
  std::map<std::string, int> outer, all;
  for (const schema::NodeProto& node : file.graph().node()) ++outer[node.op_type()];
  count_nodes(file.graph(), all);
  EXPECT_LT(outer["Conv"], all["Conv"]);
  EXPECT_EQ(all["Conv"], 20);
}

TEST(WriteNetwork, LeavesOutExitsThatNoImageTakes) {
  model::ModelFile model = model_of(small_resnet());
  policy::Policy policy = policy::never_stop(3);
  policy.thresholds = {std::nullopt, 0.8f};
  model.policy = policy::ChosenPolicy{.policy = policy};
  std::map<std::string, int> counts;
  const schema::ModelProto file = parsed(network_as_onnx(model, Form::conditional));
  count_nodes(file.graph(), counts);
  EXPECT_EQ(counts["If"], 1);
  EXPECT_EQ(counts["Gemm"], 2);
  for (const schema::TensorProto& tensor : file.graph().initializer())
    EXPECT_THAT(tensor.name(), testing::Not(testing::StartsWith("exits.1."))) << tensor.name();
}

TEST(WriteNetwork, GivesEveryValueANameOfItsOwn) {
  for (const policy::Ensemble ensemble :
       {policy::Ensemble::off, policy::Ensemble::mean, policy::Ensemble::geometric}) {
    model::ModelFile model = model_of(two_scale());
    policy::Policy policy = policy::never_stop(3);
    policy.thresholds = {0.9f, 0.8f};
    policy.ensemble = ensemble;
    model.policy = policy::ChosenPolicy{.policy = policy};
    std::set<std::string> names;
    const auto visit = [&](const auto& self, const schema::GraphProto& graph) -> void {
      for (const schema::NodeProto& node : graph.node()) {
        for (const std::string& output : node.output()) {
          EXPECT_TRUE(names.insert(output).second) << output;
        }
        for (const schema::AttributeProto& attribute : node.attribute())
          if (attribute.has_g()) self(self, attribute.g());
      }
    };
    const schema::ModelProto file = parsed(network_as_onnx(model, Form::conditional));
    for (const schema::TensorProto& tensor : file.graph().initializer()) {
      EXPECT_TRUE(names.insert(tensor.name()).second) << tensor.name();
    }
    visit(visit, file.graph());
  }
}

TEST(WriteNetwork, NeedsAPolicyForTheConditionalForm) {
  const model::ModelFile model = model_of(small_resnet());
  EXPECT_THAT(test::message_of([&] { network_as_onnx(model, Form::conditional); }),
              HasSubstr("the model has no policy"));
}

TEST(WriteNetwork, MakesAPlainFileThatImportsWithTheSameLogits) {
  for (const graph::Graph& graph : {small_resnet(), small_vgg(), two_scale(), pyramid({1, 2, 4}, 8),
                                    pyramid({4, 1, 3, 2}, 7), adaptive_pool(7)}) {
    SCOPED_TRACE(graph.name);
    const model::ModelFile model = model_of(graph);
    core::TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "plain.onnx";
    std::ofstream(path, std::ios::binary) << network_as_onnx(model, Form::plain);
    const ImportedNetwork again = read_network(path);
    ASSERT_EQ(again.input_scale.size(), 3u);
    for (std::size_t c = 0; c < 3; ++c) {
      EXPECT_FLOAT_EQ(1 / again.input_scale[c], model.preprocessing.std[c]);
      EXPECT_NEAR(-again.input_shift[c] / again.input_scale[c], model.preprocessing.mean[c], 1e-6);
    }
    std::vector<float> image(static_cast<std::size_t>(core::element_count(graph.input)));
    for (std::size_t i = 0; i < image.size(); ++i)
      image[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) / 25;
    const std::vector<float> all = ReferencePredictor(graph, model.weights).predict_all(image);
    const std::vector<float> expected(all.end() - graph.classes, all.end());
    EXPECT_EQ(ReferencePredictor(again.graph, again.weights).predict_all(image), expected);
  }
}

/// A model whose convolutions have 8-bit weights, and the tensors that are stored in 8 bits: the
/// image and the outputs of ReLUs.
std::pair<model::ModelFile, QuantisedTensors> int8_model() {
  model::ModelFile model = model_of(small_resnet());
  for (const graph::Parameter& parameter : graph::parameters(model.graph)) {
    if (parameter.role != graph::ParameterRole::conv_weight) continue;
    const auto weight = model.weights.find(parameter.name)->second.as<float>();
    std::vector<float>& scales = model.weight_scales[parameter.name];
    const std::size_t per_channel = weight.size() / static_cast<std::size_t>(parameter.shape[0]);
    for (std::size_t i = 0; i < weight.size(); ++i) {
      if (i % per_channel == 0) {
        float largest = 0;
        for (const float value : weight.subspan(i, per_channel))
          largest = std::max(largest, std::abs(value));
        scales.push_back(largest / 127);
      }
      weight[i] = scales.back() * std::nearbyint(weight[i] / scales.back());
    }
  }
  QuantisedTensors tensors = {{std::string(graph::kInput), {0.02f, true}}};
  for (const graph::Segment& segment : model.graph.segments)
    for (const auto* nodes : {&segment.nodes, &segment.head})
      for (const graph::Node& node : *nodes)
        if (std::holds_alternative<graph::Relu>(node.op)) tensors[node.name] = {0.05f, false};
  policy::Policy policy = policy::never_stop(3);
  policy.thresholds = {0.9f, 0.8f};
  model.policy = policy::ChosenPolicy{.policy = policy};
  return {std::move(model), std::move(tensors)};
}

TEST(WriteNetwork, RoundsTheTensorsOfAnInt8ModelWithTheirScales) {
  const auto [model, tensors] = int8_model();
  const schema::ModelProto file = parsed(network_as_onnx(model, Form::plain, tensors));
  std::map<std::string, int> counts;
  count_nodes(file.graph(), counts);
  EXPECT_EQ(counts["BatchNormalization"], 0);
  std::set<std::string> integers;
  std::map<std::string, const schema::TensorProto*> initializers;
  for (const schema::TensorProto& tensor : file.graph().initializer())
    initializers[tensor.name()] = &tensor;
  for (const schema::NodeProto& node : file.graph().node()) {
    if (node.op_type() != "QuantizeLinear") continue;
    ASSERT_TRUE(initializers.contains(node.input(2))) << node.input(2);
    EXPECT_EQ(initializers[node.input(2)]->data_type(), node.input(0) == "input/exact"
                                                            ? schema::TensorProto::INT8
                                                            : schema::TensorProto::UINT8);
    integers.insert(node.output(0));
  }
  EXPECT_TRUE(integers.contains("input/integers"));
  EXPECT_EQ(counts["QuantizeLinear"], static_cast<int>(integers.size()));
  ASSERT_TRUE(initializers.contains("conv1.weight/integers"));
  EXPECT_EQ(initializers["conv1.weight/integers"]->data_type(), schema::TensorProto::INT8);
  EXPECT_FALSE(initializers.contains("conv1.weight"));
  // The first convolution is rounded after its ReLU, so its bias is in integers; the second one of
  // a block is added first.
  EXPECT_TRUE(initializers.contains("conv1.bias/integers"));
  EXPECT_FALSE(initializers.contains("layer1.0.conv2.bias/integers"));
  EXPECT_TRUE(initializers.contains("layer1.0.conv2.bias"));
}

TEST(WriteNetwork, RestoresIntegersInTheGraphThatReadsThem) {
  const auto [model, tensors] = int8_model();
  const schema::ModelProto file = parsed(network_as_onnx(model, Form::conditional, tensors));
  int convolutions = 0;
  const auto visit = [&](const auto& self, const schema::GraphProto& graph) -> void {
    std::set<std::string> restored;
    for (const schema::NodeProto& node : graph.node()) {
      if (node.op_type() == "DequantizeLinear") restored.insert(node.output(0));
      if (node.op_type() == "Conv") {
        EXPECT_TRUE(restored.contains(node.input(0))) << node.input(0);
        EXPECT_TRUE(restored.contains(node.input(1))) << node.input(1);
        ++convolutions;
      }
      for (const schema::AttributeProto& attribute : node.attribute())
        if (attribute.has_g()) self(self, attribute.g());
    }
  };
  visit(visit, file.graph());
  EXPECT_EQ(convolutions, 20);
}

TEST(WriteNetwork, FoldsBatchNormsIntoIntegersWithTheSameLogits) {
  auto [model, tensors] = int8_model();
  // A factor below 0 changes the sign of the integers; one of 0 makes the channel constant.
  const auto gamma = model.weights.find("bn1.weight")->second.as<float>();
  gamma[0] = -0.5f;
  gamma[1] = 0;
  const core::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "net.onnx";
  std::ofstream(path, std::ios::binary) << network_as_onnx(model, Form::plain, tensors);
  const ImportedNetwork imported = read_network(path);
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with("exits.")) continue;  // the heads of the other exits are not written
    const auto range = imported.ranges.find(name);
    ASSERT_NE(range, imported.ranges.end()) << name;
    EXPECT_FLOAT_EQ(range->second.magnitude, tensor.scale * (tensor.is_signed ? 127 : 255)) << name;
    EXPECT_EQ(range->second.is_signed, tensor.is_signed) << name;
  }
  std::vector<float> pixels(static_cast<std::size_t>(core::element_count(model.graph.input)));
  for (std::size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<float>(i * 37 % 101) / 25 - 2;
  const std::vector<float> ours =
      ReferencePredictor(model.graph, model.weights).predict_all(pixels);
  const std::vector<float> theirs =
      ReferencePredictor(imported.graph, imported.weights).predict_all(pixels);
  const std::span<const float> last = std::span(ours).last(theirs.size());
  // The biases are rounded to steps of the sums, some 1e-4 here.
  for (std::size_t i = 0; i < theirs.size(); ++i) EXPECT_NEAR(theirs[i], last[i], 1e-2);
}

TEST(WriteNetwork, ReadsTheNamesOfItsForms) {
  for (const Form form : {Form::conditional, Form::all_exits, Form::plain})
    EXPECT_EQ(form_from_string(to_string(form)), form);
  EXPECT_THAT(test::message_of<UsageError>([] { form_from_string("conditonal"); }),
              HasSubstr("did you mean \"conditional\"?"));
}

}  // namespace
}  // namespace offramp::onnx
