#include "graph/network_spec.h"

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "graph/cost.h"
#include "tests/support/graphs.h"

namespace offramp::graph {
namespace {

std::string message_of(const NetworkSpec& spec) {
  try {
    build_network(spec);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no usage error";
}

NetworkSpec with(std::vector<std::string> exits) {
  NetworkSpec spec;
  spec.exits = std::move(exits);
  return spec;
}

std::vector<std::string> segment_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Segment& segment : graph.segments) names.push_back(segment.name);
  return names;
}

std::vector<std::string> parameter_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Parameter& parameter : parameters(graph)) names.push_back(parameter.name);
  return names;
}

TEST(NetworkSpec, PlainHasOneSegmentAndTheBackbonesClassifier) {
  const Graph graph = build_network({});
  EXPECT_THAT(segment_names(graph), testing::ElementsAre("layer1.0 to layer4.1"));
  EXPECT_THAT(exit_segments(graph), testing::ElementsAre(0));
  EXPECT_EQ(graph.segments[0].head.back().name, "fc");
}

TEST(NetworkSpec, IsCutAfterTheUnitsAskedFor) {
  const Graph graph = build_network(with({"2", "5"}));
  EXPECT_THAT(
      segment_names(graph),
      testing::ElementsAre("layer1.0 to layer1.1", "layer2.0 to layer3.0", "layer3.1 to layer4.1"));
  EXPECT_THAT(exit_segments(graph), testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(graph.segments[0].feature, "layer1.1.relu2");
  EXPECT_THAT(graph.segments[0].outputs, testing::ElementsAre("layer1.1.relu2"));
}

TEST(NetworkSpec, TakesSharesOfThePlainCost) {
  // The shares after blocks 1 to 8 are 13.9, 27.5, 38.1, 51.7, 62.2, 75.8, 86.4, 100 %.
  EXPECT_EQ(build_network(with({"15%", "45%"})), build_network(with({"1", "4"})));
  EXPECT_EQ(build_network(with({"0.1%"})), build_network(with({"1"})));
  EXPECT_EQ(build_network(with({"20.6%"})), build_network(with({"1"})));
  EXPECT_EQ(build_network(with({"20.8%"})), build_network(with({"2"})));
  EXPECT_EQ(build_network(with({"93%"})), build_network(with({"7"})));
}

TEST(NetworkSpec, RefusesExitsBeyondTheNetwork) {
  EXPECT_EQ(message_of(with({"8"})),
            "exit \"8\" is beyond resnet18: it has 8 units, early exits go after unit 1 to 7");
  EXPECT_EQ(message_of(with({"99999999999"})),
            "exit \"99999999999\" is beyond resnet18: it has 8 units, early exits go after unit 1 "
            "to 7");
  EXPECT_EQ(message_of(with({"99%"})),
            "exit \"99%\" is at the end of resnet18, which has its own classifier; the last "
            "place for an early exit is after unit 7, at 86.4%");
  const std::string nonsense = " is neither the number of a unit nor a share such as \"15%\"";
  EXPECT_EQ(message_of(with({"0"})), "exit \"0\"" + nonsense);
  EXPECT_EQ(message_of(with({"-1"})), "exit \"-1\"" + nonsense);
  EXPECT_EQ(message_of(with({"2.5"})), "exit \"2.5\"" + nonsense);
  EXPECT_EQ(message_of(with({"layer1.0"})), "exit \"layer1.0\"" + nonsense);
  EXPECT_EQ(message_of(with({""})), "exit \"\"" + nonsense);
  EXPECT_EQ(message_of(with({"a\nb"})).find('\n'), std::string::npos) << "a message has one line";
  for (const std::string share : {"0%", "100%", "nan%", "-5%", "%", "1e999%"})
    EXPECT_EQ(message_of(with({share})),
              "exit \"" + share + "\": a share of the MACs must lie between 0% and 100%");
}

TEST(NetworkSpec, RefusesExitsThatRepeatOrRunBackwards) {
  EXPECT_EQ(message_of(with({"3", "3"})),
            "exits \"3\" and \"3\" are at the same place: after unit 3 (layer2.0)");
  EXPECT_EQ(message_of(with({"13%", "15%"})),
            "exits \"13%\" and \"15%\" are at the same place: after unit 1 (layer1.0)");
  EXPECT_EQ(message_of(with({"5", "2"})),
            "exit \"2\" (after unit 2) comes before exit \"5\" (after unit 5): list exits in the "
            "order of the network");
}

TEST(NetworkSpec, NeverSuggestsAnotherNetworkForAnUnknownOne) {
  NetworkSpec spec;
  std::vector<std::string> known;
  for (const Backbone& backbone : backbones()) known.push_back(backbone.name);
  for (const std::string name : {"resnet50", "resnet81", "mobilenet_v2", "vgg16_bn", "resnext18",
                                 "senet18", "vgg11_bn", "transformer", ""}) {
    spec.backbone = name;
    EXPECT_EQ(message_of(spec),
              fmt::format("unknown backbone \"{}\"; known: {}", name, fmt::join(known, ", ")));
  }
}

TEST(NetworkSpec, SuggestsANameThatIsSpelledInAnotherWay) {
  NetworkSpec spec;
  spec.backbone = "ResNet-18";
  EXPECT_EQ(message_of(spec), "unknown backbone \"ResNet-18\"; did you mean \"resnet18\"?");
  spec = with({"1"});
  spec.heads = {"conv_spp"};
  EXPECT_EQ(message_of(spec), "unknown head \"conv_spp\"; did you mean \"conv-spp\"?");
}

TEST(NetworkSpec, RefusesOptionsOutOfRange) {
  const auto message = [](const BackboneOptions& options,
                          const std::string& backbone = "resnet18") {
    NetworkSpec spec;
    spec.backbone = backbone;
    spec.options = options;
    return message_of(spec);
  };
  EXPECT_EQ(message({.input = {3, 31, 64}}), "the input must be at least 32x32, got 31x64");
  EXPECT_EQ(message({.input = {3, 64}}), "the input must be [C,H,W], got [3,64]");
  EXPECT_EQ(message({.input = {0, 64, 64}}), "the input must have at least 1 channel, got 0");
  EXPECT_EQ(message({.classes = 1}), "a classifier needs at least 2 classes, got 1");
  EXPECT_EQ(message({.width = 0}), "the width must be at least 1, got 0");
  EXPECT_EQ(message({.input = {3, 50000, 50000}}),
            "the network's input has more than 2^31 elements: [3,50000,50000]");
  EXPECT_EQ(message({.width = 1 << 30}),
            "segment \"layer1.0\": node \"conv1\": the weight has more than 2^31 elements: "
            "[1073741824,3,3,3]");
  EXPECT_EQ(message({.stem = Stem::imagenet}, "vgg11"),
            "backbone \"vgg11\": has no imagenet stem; its only stem is \"cifar\"");
}

TEST(NetworkSpec, RefusesPyramidLevelsOutOfRange) {
  NetworkSpec spec = with({"1"});
  spec.spp_levels = {};
  EXPECT_EQ(message_of(spec), "spp_levels: there must be at least one level");
  spec.spp_levels = {1, 65};
  EXPECT_EQ(message_of(spec), "spp_levels: a level must lie between 1 and 64, got 65");
}

TEST(NetworkSpec, NamesParametersAsTorchvisionDoes) {
  const auto names = parameter_names(build_network(with({"2"})));
  EXPECT_THAT(names,
              testing::IsSupersetOf(
                  {"conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
                   "layer1.0.conv1.weight", "layer2.0.downsample.0.weight",
                   "layer2.0.downsample.1.running_var", "layer4.1.bn2.bias", "fc.weight", "fc.bias",
                   "exits.1.fc.weight", "exits.1.fc.bias"}));
  EXPECT_THAT(names, testing::Not(testing::Contains("conv1.bias")));
  EXPECT_THAT(names, testing::Not(testing::Contains("layer1.0.downsample.0.weight")));
}

TEST(NetworkSpec, NamesTheConvolutionOfAHead) {
  NetworkSpec spec = with({"2", "3"});
  spec.heads = {"conv-spp"};
  std::vector<std::string> in_second_head;
  for (const Parameter& parameter : parameters(build_network(spec)))
    if (parameter.in_head && parameter.segment == 1) in_second_head.push_back(parameter.name);
  EXPECT_THAT(in_second_head,
              testing::ElementsAre("exits.2.conv.weight", "exits.2.bn.weight", "exits.2.bn.bias",
                                   "exits.2.bn.running_mean", "exits.2.bn.running_var",
                                   "exits.2.fc.weight", "exits.2.fc.bias"));
}

TEST(NetworkSpec, TakesAHeadForEachExitOrOneForAll) {
  const auto heads_of = [](const std::vector<std::string>& exits,
                           const std::vector<std::string>& heads) {
    NetworkSpec spec = with(exits);
    spec.heads = heads;
    std::vector<std::size_t> nodes;
    for (const Segment& segment : build_network(spec).segments)
      nodes.push_back(segment.head.size());
    return nodes;
  };
  // The heads have 2 nodes (pool, linear), 5 (convolution, norm and relu before them) and 8 (twice
  // these three). The network's own classifier has 2.
  EXPECT_THAT(heads_of({"1", "4"}, {"deep-spp", "conv-spp"}), testing::ElementsAre(8, 5, 2));
  EXPECT_THAT(heads_of({"1", "4"}, {"spp"}), testing::ElementsAre(2, 2, 2));
  EXPECT_THAT(heads_of({}, {"spp"}), testing::ElementsAre(2));
  NetworkSpec spec = with({"1", "4"});
  spec.heads = {"spp", "spp", "avg"};
  EXPECT_EQ(message_of(spec), "3 heads for 2 early exits: give one for all, or one for each");
  spec.heads = {};
  EXPECT_EQ(message_of(spec), "0 heads for 2 early exits: give one for all, or one for each");
}

TEST(NetworkSpec, CanEndAfterAnyUnitWithAHeadAsItsClassifier) {
  NetworkSpec spec;
  spec.units = 4;
  spec.heads = {"conv-spp"};
  const Graph graph = build_network(spec);
  EXPECT_THAT(segment_names(graph), testing::ElementsAre("layer1.0 to layer2.1"));
  EXPECT_EQ(graph.segments[0].head.back().name, "classifier.fc");
  // The cost equals that of stopping there, without the cost of the heads before.
  NetworkSpec whole = with({"4"});
  whole.heads = {"conv-spp"};
  EXPECT_EQ(cost_of(graph).plain_macs, cost_of(build_network(whole)).exit_macs.front());

  spec.exits = {"1"};
  spec.heads = {"spp", "conv-spp"};
  const Graph two = build_network(spec);
  EXPECT_THAT(segment_names(two), testing::ElementsAre("layer1.0", "layer1.1 to layer2.1"));
  EXPECT_EQ(two.segments[0].head.size(), 2);
  EXPECT_EQ(two.segments[1].head.size(), 5);
}

TEST(NetworkSpec, RefusesToEndBeyondTheNetwork) {
  NetworkSpec spec;
  spec.units = 8;
  EXPECT_EQ(message_of(spec),
            "units: resnet18 has 8 units, so a truncated network can have 1 to 7, got 8");
  spec.units = 4;
  spec.exits = {"4"};
  EXPECT_EQ(message_of(spec),
            "exit \"4\" is beyond resnet18: it has 4 units, early exits go after unit 1 to 3");
  spec.exits = {"1", "2"};
  spec.heads = {"spp", "avg"};
  EXPECT_EQ(message_of(spec),
            "2 heads for 3 exits, the last included: give one for all, or one for each");
}

TEST(NetworkSpec, TakesInputsOfAnySizeFrom32) {
  for (const Backbone& backbone : backbones())
    for (const Shape& input : {Shape{3, 32, 32}, Shape{1, 33, 47}, Shape{4, 61, 32}})
      for (const Head& head : heads()) {
        NetworkSpec spec;
        spec.backbone = backbone.name;
        spec.options = {.input = input, .classes = 3, .stem = Stem::cifar, .width = 3};
        const std::size_t units = backbone.build(spec.options).segments.size();
        spec.exits = {"1", std::to_string(units - 1)};
        spec.heads = {head.name};
        EXPECT_EQ(message_of(spec), "no usage error") << backbone.name << ' ' << head.name;
      }
}

TEST(NetworkSpec, EveryBackboneKeepsTheRulesOfAUnit) {
  for (const Backbone& backbone : backbones()) {
    const Graph units = backbone.build({.input = {3, 64, 64}, .classes = 10, .width = 8});
    EXPECT_THAT(exit_segments(units),
                testing::ElementsAre(static_cast<int>(units.segments.size()) - 1));
    EXPECT_EQ(units.segments.back().head.back().name, "fc") << backbone.name;
    const auto shapes = infer_shapes(units);
    for (const Segment& segment : units.segments)
      EXPECT_EQ(shapes.at(segment.feature).size(), 3) << backbone.name << ' ' << segment.name;
  }
}

TEST(NetworkSpec, CostsMoreAtEveryLaterExit) {
  for (const Graph& graph : example_graphs()) {
    const Cost cost = cost_of(graph);
    EXPECT_EQ(cost.exit_macs.size(), 3);
    EXPECT_TRUE(std::is_sorted(cost.exit_macs.begin(), cost.exit_macs.end())) << graph.name;
    EXPECT_LE(cost.plain_macs, cost.exit_macs.back()) << graph.name;
  }
}

TEST(NetworkSpec, AddsExitsToAGraphWrittenByHand) {
  const Graph graph = with_exits(two_scale(), {"2"}, {"avg"}, {1});
  EXPECT_THAT(segment_names(graph), testing::ElementsAre("first to second", "third"));
  EXPECT_THAT(parameter_names(graph), testing::Contains("exits.1.fc.weight"));
  // The heads of the units are removed, and the tensor "side" is still passed on.
  EXPECT_THAT(graph.segments[0].outputs, testing::ElementsAre("side", "coarse2"));
  EXPECT_THAT(exit_segments(graph), testing::ElementsAre(0, 1));
}

TEST(MergeSegments, RefusesCutsOutsideTheNetworkOrOutOfOrder) {
  const Graph units = two_scale();
  for (const std::vector<int>& cuts : {std::vector{2}, {-1}, {1, 1}, {1, 0}})
    EXPECT_THROW(merge_segments(units, cuts), Error);
}

}  // namespace
}  // namespace offramp::graph
