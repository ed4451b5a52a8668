#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/model/tiny_model.h"
#include "tests/support/graphs.h"

namespace offramp::model {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// This text was written by hand, following docs/model-file.md.
const std::string kTiny =
    R"({"name":"tiny","input":[1,4,5],"classes":3,"segments":[)"
    R"({"name":"first","nodes":[)"
    R"({"name":"conv1","op":"conv","inputs":["input"],"out_channels":2,"kernel":3,"stride":1,)"
    R"("padding":1,"groups":1,"bias":false},)"
    R"({"name":"bn1","op":"batch_norm","inputs":["conv1"],"eps":1e-05,"momentum":0.1},)"
    R"({"name":"relu1","op":"relu","inputs":["bn1"]}],)"
    R"("outputs":["relu1"],"feature":"relu1","head":[)"
    R"({"name":"exits.1.pool","op":"spatial_pyramid_pool","inputs":["relu1"],"levels":[1,2]},)"
    R"({"name":"exits.1.fc","op":"linear","inputs":["exits.1.pool"],"out_features":3,"bias":true}]},)"
    R"({"name":"last","nodes":[)"
    R"({"name":"conv2","op":"conv","inputs":["relu1"],"out_channels":4,"kernel":2,"stride":2,)"
    R"("padding":0,"groups":2,"bias":true}],"outputs":[],"feature":"conv2","head":[)"
    R"({"name":"avgpool","op":"global_avg_pool","inputs":["conv2"]},)"
    R"({"name":"fc","op":"linear","inputs":["avgpool"],"out_features":3,"bias":true}]}]})";

TEST(GraphJson, IsTheTextThatIsDocumented) { EXPECT_EQ(graph_to_json(tiny_graph()), kTiny); }

TEST(GraphJson, IsReadBack) { EXPECT_EQ(graph_from_json(kTiny), tiny_graph()); }

TEST(GraphJson, IsReadWithItsKeysInAnyOrderAndSpaces) {
  const std::string text = R"({ "segments" : [ ], "classes": 2,
      "input": [3, 8, 8], "name": "" })";
  EXPECT_EQ(graph_from_json(text), (graph::Graph{"", {3, 8, 8}, 2, {}}));
}

TEST(GraphJson, KeepsEveryOperationOfEveryNetwork) {
  for (const graph::Graph& graph : example_graphs()) {
    SCOPED_TRACE(graph.name);
    EXPECT_EQ(graph_from_json(graph_to_json(graph)), graph);
  }
  // All attributes differ from their defaults.
  graph::Graph graph = tiny_graph();
  graph.segments[0].nodes = {
      {"a", graph::Conv{7, 5, 3, 2, 1, true}, {"input"}},
      {"b", graph::BatchNorm{1e-3, 0.03}, {"a"}},
      {"c", graph::Relu6{}, {"b"}},
      {"d", graph::MaxPool{3, 1, 1}, {"c"}},
      {"e", graph::AvgPool{5, 4, 2}, {"d"}},
      {"f", graph::Add{}, {"e", "d", "e"}},
      {"g", graph::Concat{}, {"f", "a"}},
      {"h", graph::Flatten{}, {"g"}},
      {"i", graph::Linear{9, false}, {"h"}},
      {"j", graph::Conv{7, {5, 1}, {1, 3}, {1, 2, 3, 4}, 1, true, {2, 3}}, {"a"}},
      {"k", graph::MaxPool{{3, 2}, {1, 2}, {1, 0, 1, 1}, {1, 2}, true}, {"a"}},
      {"l", graph::AvgPool{5, 4, {2, 0, 0, 0}, true, false}, {"a"}},
      {"m", graph::AdaptiveAvgPool{{2, 3}}, {"a"}},
      {"n", graph::Clip{-0.1, 2.5}, {"a"}},
      {"o", graph::Clip{}, {"a"}},
      {"p", graph::Sigmoid{}, {"a"}},
      {"q", graph::HardSigmoid{0.2, 0.6}, {"a"}},
      {"r", graph::HardSwish{}, {"a"}},
      {"s", graph::Silu{}, {"a"}},
      {"t", graph::Gelu{true}, {"a"}},
      {"u", graph::Multiply{}, {"a", "a"}},
      {"v", graph::Slice{2, 5}, {"a"}},
      {"w", graph::ChannelShuffle{7}, {"a"}},
      {"x", graph::LayerNorm{1e-3}, {"a"}}};
  EXPECT_EQ(graph_from_json(graph_to_json(graph)), graph);
}

TEST(GraphJson, WritesWhatIsNewOnlyWhereItDiffers) {
  const auto text_of = [](const graph::Op& op) {
    graph::Graph graph = tiny_graph();
    graph.segments[0].nodes = {{"x", op, {"input"}}};
    const std::string text = graph_to_json(graph);
    const auto begin = text.find("\"inputs\":[\"input\"]") + 18;
    return text.substr(begin, text.find('}', begin) - begin);
  };
  EXPECT_EQ(text_of(graph::AvgPool{}), R"(,"kernel":2,"stride":2,"padding":0)");
  EXPECT_EQ(text_of(graph::AvgPool{3, {1, 2}, {0, 1, 0, 1}, true, false}),
            R"(,"kernel":3,"stride":[1,2],"padding":[0,1,0,1],"ceil_mode":true,)"
            R"("count_include_pad":false)");
  EXPECT_EQ(text_of(graph::Conv{7, {1, 3}, 1, 0, 1, false, 2}),
            R"(,"out_channels":7,"kernel":[1,3],"stride":1,"padding":0,"groups":1,"bias":false,)"
            R"("dilation":2)");
  EXPECT_EQ(text_of(graph::Gelu{}), R"(,"tanh":false)");
}

/// Returns kTiny with the first occurrence of `from` replaced.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = kTiny;
  const auto at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return text.replace(at, from.size(), to);
}

std::string many_keys(int count) {
  std::string text = "{";
  for (int i = 0; i < count; ++i) text += (i ? ",\"" : "\"") + std::to_string(i) + "\":0";
  return text + "}";
}

/// Returns kTiny with a chain of further pools after its first node.
std::string chain(int length) {
  std::string nodes;
  for (int i = 0; i < length; ++i)
    nodes += R"({"name":"n)" + std::to_string(i) + R"(","op":"relu","inputs":["relu1"]},)";
  return changed(R"([{"name":"conv2")", "[" + nodes + R"({"name":"conv2")");
}

TEST(GraphJson, HasAtMost10000Nodes) {
  const auto count = [](const graph::Graph& graph) {
    std::size_t nodes = 0;
    for (const graph::Segment& segment : graph.segments)
      nodes += segment.nodes.size() + segment.head.size();
    return nodes;
  };
  const int more = 10'000 - static_cast<int>(count(tiny_graph()));
  EXPECT_EQ(count(graph_from_json(chain(more))), 10'000u);
  EXPECT_THAT(
      [&] { graph_from_json(chain(more + 1)); },
      ThrowsMessage<Error>(HasSubstr("segments[1].head: the graph has more than 10000 nodes")));
}

TEST(GraphJson, NamesTheFieldThatIsWrong) {
  const std::string numbers = [] {
    std::string text = "0";
    for (int i = 0; i < 1000; ++i) text += ",0";
    return text;
  }();
  const struct {
    std::string what, text, message;
  } cases[] = {
      {"no JSON", "{", "not valid JSON at byte 2"},
      {"not UTF-8", changed("tiny", "\xff"), "not valid JSON at byte 10"},
      {"a zero byte", kTiny + '\0', "not valid JSON: zero byte"},
      {"something after it", kTiny + "x", "not valid JSON at byte "},
      {"a number beyond doubles", changed("\"classes\":3", "\"classes\":1e999"),
       "not valid JSON: a number is too large"},
      {"a nesting bomb", std::string(100'000, '['), "nested more than 32 levels deep"},
      {"a nesting bomb of objects",
       [] {
         std::string text;
         for (int i = 0; i < 100'000; ++i) text += R"({"a":)";
         return text;
       }(),
       "nested more than 32 levels deep"},
      {"too long a text", std::string(17 << 20, ' '),
       "text of 17825792 bytes is longer than the 16777216 allowed"},
      {"an array", "[]", "the text: got an array, expected an object"},
      {"a missing key", changed("\"classes\":3,", ""), "classes is missing"},
      {"an unknown key", changed("\"classes\":3,", "\"classes\":3,\"version\":1,"),
       "unknown key \"version\""},
      {"a misspelt key", changed("\"kernel\":3", "\"kernel\":3,\"strides\":1"),
       "segments[0].nodes[0]: unknown key \"strides\"; did you mean \"stride\"?"},
      {"too many keys", many_keys(5000), "an object of more than 1000 keys"},
      {"a key twice", changed("\"kernel\":3", "\"kernel\":3,\"kernel\":5"),
       "key \"kernel\" appears twice"},
      {"a name that is a number", changed("\"tiny\"", "1"), "name: got 1, expected a text"},
      {"a long name", changed("tiny", std::string(201, 'x')),
       "name: text of 201 bytes is longer than the 200 allowed"},
      {"a node without a name", changed("\"conv1\"", "\"\""), "segments[0].nodes[0].name is empty"},
      {"a name that would break the line",
       changed("\"inputs\":[\"input\"]", "\"inputs\":\"a\\nb\""),
       "segments[0].nodes[0].inputs: got the text \"a\\x0ab\", expected an array"},
      {"an input of two sides", changed("[1,4,5]", "[4,5]"), "input: got [4,5], expected [C,H,W]"},
      {"an input of four sides", changed("[1,4,5]", "[1,1,4,5]"),
       "input: 4 elements are more than the 3 allowed"},
      {"an empty input", changed("[1,4,5]", "[0,4,5]"),
       "input[0]: got 0, expected an integer from 1 to 65536"},
      {"no class", changed("\"classes\":3", "\"classes\":0"),
       "classes: got 0, expected an integer from 1 to 65536"},
      {"classes that are a text", changed("\"classes\":3", "\"classes\":\"3\""),
       "classes: got the text \"3\", expected an integer from 1 to 65536"},
      {"a fraction of a class", changed("\"classes\":3", "\"classes\":3.0"),
       "classes: got 3.0, expected an integer from 1 to 65536"},
      {"2^64 - 1 channels", changed("\"out_channels\":2", "\"out_channels\":18446744073709551615"),
       "segments[0].nodes[0].out_channels: got 18446744073709551615, expected an integer from 1 to "
       "65536"},
      {"a negative stride", changed("\"stride\":1", "\"stride\":-1"),
       "segments[0].nodes[0].stride: got -1, expected an integer from 1 to 64"},
      {"a large kernel", changed("\"kernel\":3", "\"kernel\":65"),
       "segments[0].nodes[0].kernel: got 65, expected an integer from 1 to 64"},
      {"a kernel of three sides", changed("\"kernel\":3", "\"kernel\":[3,3,3]"),
       "segments[0].nodes[0].kernel: 3 elements are more than the 2 allowed"},
      {"padding of three sides", changed("\"padding\":1", "\"padding\":[1,1,1]"),
       "segments[0].nodes[0].padding: got 3 numbers, expected 1 or 4"},
      {"a dilation of zero", changed("\"kernel\":3", "\"kernel\":3,\"dilation\":0"),
       "segments[0].nodes[0].dilation: got 0, expected an integer from 1 to 64"},
      {"a bias that is a number", changed("\"bias\":false", "\"bias\":0"),
       "segments[0].nodes[0].bias: got 0, expected true or false"},
      {"an epsilon of zero", changed("1e-05", "0"),
       "segments[0].nodes[1].eps: got 0, expected a number from 1e-12 to 1"},
      {"a momentum that is null", changed("0.1", "null"),
       "segments[0].nodes[1].momentum: got null, expected a number from 0 to 1"},
      {"an unknown operation", changed("\"relu\"", "\"rilu\""),
       "segments[0].nodes[2].op: unknown operation \"rilu\"; did you mean \"relu\"?"},
      {"an attribute of another operation",
       changed("\"inputs\":[\"bn1\"]", "\"inputs\":[\"bn1\"],\"kernel\":3"),
       "segments[0].nodes[2]: unknown key \"kernel\""},
      {"no pyramid level", changed("\"levels\":[1,2]", "\"levels\":[]"),
       "segments[0].head[0].levels: expected at least one level"},
      {"a large pyramid level", changed("\"levels\":[1,2]", "\"levels\":[1,65]"),
       "segments[0].head[0].levels[1]: got 65, expected an integer from 1 to 64"},
      {"many pyramid levels",
       changed("\"levels\":[1,2]", "\"levels\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"),
       "segments[0].head[0].levels: 17 elements are more than the 16 allowed"},
      {"many features", changed("\"out_features\":3", "\"out_features\":16777217"),
       "segments[0].head[1].out_features: got 16777217, expected an integer from 1 to 16777216"},
      {"many outputs", changed("\"outputs\":[\"relu1\"]", "\"outputs\":[" + numbers + "]"),
       "segments[0].outputs: 1001 elements are more than the 1000 allowed"},
      {"an input that is no text", changed("\"inputs\":[\"bn1\"]", "\"inputs\":[\"bn1\",7]"),
       "segments[0].nodes[2].inputs[1]: got 7, expected a text"},
      {"no input", changed("\"inputs\":[\"bn1\"]", "\"inputs\":[]"),
       "segments[0].nodes[2].inputs: expected at least one input"},
      {"a node that is no object", changed("\"nodes\":[", "\"nodes\":[1,"),
       "segments[0].nodes[0]: got 1, expected an object"},
      {"nodes that are no array", changed("\"segments\":[", "\"segments\":7,\"x\":["),
       "segments: got 7, expected an array"},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.what);
    EXPECT_THAT([&] { graph_from_json(one.text); }, ThrowsMessage<Error>(HasSubstr(one.message)));
  }
}

TEST(GraphJson, SurvivesChangedBytes) {
  for (std::size_t i = 0; i < kTiny.size(); ++i)
    for (const char byte : {'"', '{', '}', '[', ']', ',', ':', '9', '-', 'e', '\0', '\x80'}) {
      std::string text = kTiny;
      text[i] = byte;
      try {
        const graph::Graph graph = graph_from_json(text);
        EXPECT_EQ(graph_from_json(graph_to_json(graph)), graph);
        graph::infer_shapes(graph);
      } catch (const Error&) {
      }
    }
}

}  // namespace
}  // namespace offramp::model
