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
  for (const graph::Graph& graph : {small_resnet(), small_vgg(), two_scale()}) {
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

TEST(WriteNetwork, KnowsItsFormsByName) {
  for (const Form form : {Form::conditional, Form::all_exits, Form::plain})
    EXPECT_EQ(form_from_string(to_string(form)), form);
  EXPECT_THAT(test::message_of<UsageError>([] { form_from_string("conditonal"); }),
              HasSubstr("did you mean \"conditional\"?"));
}

}  // namespace
}  // namespace offramp::onnx
