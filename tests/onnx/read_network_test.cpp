#include "onnx/read_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/bf16.h"
#include "core/file.h"
#include "tests/onnx/model_builder.h"
#include "tests/support/message_of.h"
#include "tests/support/reference.h"

namespace offramp::onnx {
namespace {

namespace fs = std::filesystem;
using schema::AttributeProto;
using schema::NodeProto;
using schema::TensorProto;
using test::message_of;
using test::ModelBuilder;
using test::set;
using testing::HasSubstr;
using testing::Not;

class ReadNetwork : public testing::Test {
 protected:
  ImportedNetwork read(const ModelBuilder& model, const std::optional<ImageSize>& size = {}) {
    return read_network(model.write(folder_.path()), size);
  }
  std::string message(const ModelBuilder& model, const std::optional<ImageSize>& size = {}) {
    return message_of([&] { read(model, size); });
  }
  /// The operations of a network, in order: "conv relu global_avg_pool linear".
  static std::string operations(const ImportedNetwork& network) {
    std::string text;
    for (const auto* nodes :
         {&network.graph.segments.front().nodes, &network.graph.segments.front().head})
      for (const graph::Node& node : *nodes)
        text += (text.empty() ? "" : " ") + std::string(graph::op_name(node.op));
    return text;
  }
  static std::vector<float> logits(const ImportedNetwork& network) {
    std::vector<float> image(static_cast<std::size_t>(core::element_count(network.graph.input)));
    for (std::size_t i = 0; i < image.size(); ++i)
      image[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) / 25;
    return ReferencePredictor(network.graph, network.weights).predict_all(image);
  }

  core::TemporaryFolder folder_;
};

/// A model that computes `make(builder)`, the name of an image of 5 channels, from the output of a
/// convolution, and classifies it.
template <typename Make>
ModelBuilder after_conv(const Make& make, int opset = 17) {
  ModelBuilder model(opset);
  model.conv();
  model.classifier(make(model));
  return model;
}

TEST_F(ReadNetwork, MakesASegmentAndAHeadThatBeginsWithTheGlobalPooling) {
  const ImportedNetwork network = read(after_conv([](ModelBuilder& m) {
    m.node("Relu", {"conv.out"}, "relu.out");
    return "relu.out";
  }));
  EXPECT_EQ(operations(network), "conv relu global_avg_pool linear");
  const graph::Segment& segment = network.graph.segments.front();
  EXPECT_EQ(segment.nodes.size(), 2u);
  EXPECT_EQ(segment.head.size(), 2u);
  EXPECT_EQ(network.graph.classes, 4);
  EXPECT_EQ(network.graph.input, (graph::Shape{3, 8, 8}));
  EXPECT_TRUE(network.weights.contains("conv.weight"));
  EXPECT_TRUE(network.weights.contains("fc.bias"));
  EXPECT_TRUE(network.notes.empty());
  EXPECT_EQ(network.opset, 17);
  EXPECT_EQ(network.producer, "test");
}

TEST_F(ReadNetwork, FoldsWhatChangesNothing) {
  ModelBuilder model(13);
  model.conv();
  model.node("Identity", {"conv.out"}, "same");
  model.node("Dropout", {"same"}, "kept");
  model.node("Relu", {"conv.out"}, "read by nobody");
  model.classifier("kept");
  EXPECT_EQ(operations(read(model)), "conv global_avg_pool linear");
}

TEST_F(ReadNetwork, ComputesShapesThatTheFileComputes) {
  ModelBuilder model(13);
  model.conv();
  model.node("GlobalAveragePool", {"conv.out"}, "pooled");
  model.node("Shape", {"pooled"}, "shape");
  model.integers("zero", {0});
  model.node("Gather", {"shape", "zero"}, "batch");
  model.integers("rest", {-1});
  set(model.node("Concat", {"batch", "rest"}, "flat.shape"), "axis", std::int64_t{0});
  model.node("Reshape", {"pooled", "flat.shape"}, "flat");
  model.floats("fc.weight", {5, 4});
  model.node("MatMul", {"flat", "fc.weight"}, "product");
  model.floats("fc.bias", {4});
  model.node("Add", {"product", "fc.bias"}, "logits");
  const ImportedNetwork network = read(model);
  EXPECT_EQ(operations(network), "conv global_avg_pool linear");
  const auto bias = network.weights.find("fc.bias");
  ASSERT_NE(bias, network.weights.end());
  EXPECT_EQ(bias->second.to_f32(), (std::vector<float>{0.5f, -0.25f, 0.125f, 1}));
}

TEST_F(ReadNetwork, LeavesASoftmaxAtTheEndOutAndSaysSo) {
  ModelBuilder model;
  model.conv();
  model.classifier("conv.out");
  const std::vector<float> expected = logits(read(model));
  model.graph().mutable_output(0)->set_name("probabilities");
  model.node("Softmax", {"logits"}, "probabilities");
  const ImportedNetwork network = read(model);
  EXPECT_EQ(logits(network), expected);
  ASSERT_EQ(network.notes.size(), 1u);
  EXPECT_THAT(network.notes[0], HasSubstr("softmax"));
}

TEST_F(ReadNetwork, GivesAPadToTheConvolutionAfterIt) {
  ModelBuilder model;
  model.integers("pads", {0, 0, 1, 0, 0, 0, 2, 3});
  model.node("Pad", {"image", "pads"}, "padded");
  model.floats("w", {5, 3, 3, 3});
  model.node("Conv", {"padded", "w"}, "conv.out");
  model.classifier("conv.out");
  const ImportedNetwork network = read(model);
  const auto& conv = std::get<graph::Conv>(network.graph.segments[0].nodes[0].op);
  EXPECT_EQ(conv.padding, graph::Padding(1, 0, 2, 3));
}

TEST_F(ReadNetwork, PadsAMaxPoolOnlyWhereZeroCannotBeTheMaximum) {
  const auto make = [](bool relu) {
    return after_conv([relu](ModelBuilder& m) {
      const std::string input = relu ? "relu.out" : "conv.out";
      if (relu) m.node("Relu", {"conv.out"}, "relu.out");
      m.integers("pads", {0, 0, 1, 1, 0, 0, 1, 1});
      m.node("Pad", {input, "pads"}, "padded");
      NodeProto& pool = m.node("MaxPool", {"padded"}, "pool.out");
      set(pool, "kernel_shape", std::vector<std::int64_t>{3, 3});
      set(pool, "strides", std::vector<std::int64_t>{2, 2});
      return "pool.out";
    });
  };
  EXPECT_EQ(operations(read(make(true))), "conv relu max_pool global_avg_pool linear");
  EXPECT_THAT(message(make(false)), HasSubstr("which could be a maximum"));
}

TEST_F(ReadNetwork, TurnsANormalisationOfTheImageIntoPreprocessing) {
  ModelBuilder model;
  model.floats("mean", {1, 3, 1, 1}, {0.5f, 0.25f, 0.125f});
  model.floats("std", {1, 3, 1, 1}, {0.5f, 2, 4});
  model.node("Sub", {"image", "mean"}, "centred");
  model.node("Div", {"centred", "std"}, "normalised");
  model.floats("w", {5, 3, 3, 3});
  model.node("Conv", {"normalised", "w"}, "conv.out");
  model.classifier("conv.out");
  const ImportedNetwork network = read(model);
  EXPECT_EQ(operations(network), "conv global_avg_pool linear");
  EXPECT_EQ(network.input_scale, (std::vector<float>{2, 0.5f, 0.25f}));
  EXPECT_EQ(network.input_shift, (std::vector<float>{-1, -0.125f, -0.03125f}));
}

TEST_F(ReadNetwork, RecognisesActivationsThatAreWrittenInPieces) {
  const ImportedNetwork silu = read(after_conv([](ModelBuilder& m) {
    m.node("Sigmoid", {"conv.out"}, "gate");
    m.node("Mul", {"gate", "conv.out"}, "x");
    return "x";
  }));
  EXPECT_EQ(operations(silu), "conv silu global_avg_pool linear");

  const ImportedNetwork hard_swish = read(after_conv([](ModelBuilder& m) {
    m.floats("three", {}, {3});
    m.floats("zero", {}, {0});
    m.floats("six", {}, {6});
    m.node("Add", {"conv.out", "three"}, "sum");
    m.node("Clip", {"sum", "zero", "six"}, "clipped");
    m.node("Mul", {"conv.out", "clipped"}, "product");
    m.node("Div", {"product", "six"}, "x");
    return "x";
  }));
  EXPECT_EQ(operations(hard_swish), "conv hard_swish global_avg_pool linear");

  const ImportedNetwork gelu = read(after_conv([](ModelBuilder& m) {
    m.floats("root", {}, {1.41421354f});
    m.floats("one", {}, {1});
    m.floats("half", {}, {0.5f});
    m.node("Div", {"conv.out", "root"}, "scaled");
    m.node("Erf", {"scaled"}, "erf");
    m.node("Add", {"erf", "one"}, "sum");
    m.node("Mul", {"conv.out", "sum"}, "product");
    m.node("Mul", {"product", "half"}, "x");
    return "x";
  }));
  EXPECT_EQ(operations(gelu), "conv gelu global_avg_pool linear");
}

TEST_F(ReadNetwork, RecognisesALayerNormThatIsWrittenInPieces) {
  const ImportedNetwork network = read(after_conv([](ModelBuilder& m) {
    set(m.node("Transpose", {"conv.out"}, "last"), "perm", std::vector<std::int64_t>{0, 2, 3, 1});
    set(m.node("ReduceMean", {"last"}, "mean"), "axes", std::vector<std::int64_t>{-1});
    m.node("Sub", {"last", "mean"}, "centred");
    m.floats("two", {}, {2});
    m.node("Pow", {"centred", "two"}, "square");
    set(m.node("ReduceMean", {"square"}, "variance"), "axes", std::vector<std::int64_t>{-1});
    m.floats("eps", {}, {1e-6f});
    m.node("Add", {"variance", "eps"}, "sum");
    m.node("Sqrt", {"sum"}, "deviation");
    m.node("Div", {"centred", "deviation"}, "norm");
    m.floats("gamma", {5});
    m.node("Mul", {"norm", "gamma"}, "scaled");
    set(m.node("Transpose", {"scaled"}, "x"), "perm", std::vector<std::int64_t>{0, 3, 1, 2});
    return "x";
  }));
  EXPECT_EQ(operations(network), "conv layer_norm global_avg_pool linear");
}

TEST_F(ReadNetwork, RecognisesAChannelShuffle) {
  const ImportedNetwork network = read(after_conv([](ModelBuilder& m) {
    m.floats("wide", {6, 5, 1, 1});
    m.node("Conv", {"conv.out", "wide"}, "six");
    m.integers("split", {0, 2, 3, 6, 6});
    m.integers("joined", {0, 6, 6, 6});
    m.node("Reshape", {"six", "split"}, "groups");
    set(m.node("Transpose", {"groups"}, "swapped"), "perm",
        std::vector<std::int64_t>{0, 2, 1, 3, 4});
    m.node("Reshape", {"swapped", "joined"}, "shuffled");
    m.floats("narrow", {5, 6, 1, 1});
    m.node("Conv", {"shuffled", "narrow"}, "x");
    return "x";
  }));
  EXPECT_EQ(operations(network), "conv conv channel_shuffle conv global_avg_pool linear");
  const auto& shuffle = std::get<graph::ChannelShuffle>(network.graph.segments[0].nodes[2].op);
  EXPECT_EQ(shuffle.groups, 2);
}

TEST_F(ReadNetwork, OrdersTheColumnsOfALinearLayerAfterChannelsLast) {
  // A flattening of [N,H,W,C], as TensorFlow's exporters write it, against one of [N,C,H,W] with
  // the columns of the weight in the other order.
  ModelBuilder last, first;
  std::vector<float> weight(4 * 5 * 36), permuted(weight.size());
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i % 23) - 11;
  for (std::size_t o = 0; o < 4; ++o)
    for (std::size_t c = 0; c < 5; ++c)
      for (std::size_t p = 0; p < 36; ++p)
        permuted[o * 180 + p * 5 + c] = weight[o * 180 + c * 36 + p];
  last.conv();
  set(last.node("Transpose", {"conv.out"}, "nhwc"), "perm", std::vector<std::int64_t>{0, 2, 3, 1});
  last.node("Flatten", {"nhwc"}, "flat");
  last.floats("w", {4, 180}, permuted);
  set(last.node("Gemm", {"flat", "w"}, "logits"), "transB", std::int64_t{1});
  first.conv();
  first.node("Flatten", {"conv.out"}, "flat");
  first.floats("w", {4, 180}, weight);
  set(first.node("Gemm", {"flat", "w"}, "logits"), "transB", std::int64_t{1});
  EXPECT_EQ(logits(read(last)), logits(read(first)));
}

TEST_F(ReadNetwork, ReadsWeightsOfEveryFloatType) {
  ModelBuilder model;
  model.conv();
  model.classifier("conv.out");
  const std::vector<float> expected = logits(read(model));
  for (const auto type : {TensorProto::FLOAT16, TensorProto::BFLOAT16}) {
    ModelBuilder small = model;
    for (TensorProto& tensor : *small.graph().mutable_initializer()) {
      std::string bytes;
      for (std::size_t i = 0; i < tensor.raw_data().size(); i += 4) {
        float value = 0;
        std::memcpy(&value, tensor.raw_data().data() + i, 4);
        // All values of the builder are short fractions, exact in both types.
        const auto bits = std::bit_cast<std::uint32_t>(value);
        const std::uint32_t half = value == 0 ? 0
                                              : ((bits >> 16) & 0x8000u) |
                                                    ((((bits >> 23) & 0xffu) - 112) << 10) |
                                                    ((bits >> 13) & 0x3ffu);
        const auto element =
            type == TensorProto::FLOAT16 ? static_cast<std::uint16_t>(half) : core::to_bf16(value);
        bytes.append(reinterpret_cast<const char*>(&element), 2);
      }
      tensor.set_raw_data(bytes);
      tensor.set_data_type(type);
    }
    EXPECT_EQ(logits(read(small)), expected);
  }
}

TEST_F(ReadNetwork, GivesQuantisedWeightsTheirValues) {
  ModelBuilder model;
  TensorProto& integers = *model.graph().add_initializer();
  integers.set_name("q");
  integers.set_data_type(TensorProto::INT8);
  for (const std::int64_t size : {5, 3, 1, 1}) integers.add_dims(size);
  for (int i = 0; i < 15; ++i) integers.add_int32_data(i - 7);
  model.floats("scale", {5}, {1, 2, 3, 4, 0.5f});
  set(model.node("DequantizeLinear", {"q", "scale"}, "w"), "axis", std::int64_t{0});
  model.floats("step", {}, {0.1f});
  model.node("QuantizeLinear", {"image", "step"}, "quantised");
  model.node("DequantizeLinear", {"quantised", "step"}, "again");
  model.node("Conv", {"again", "w"}, "conv.out");
  model.classifier("conv.out");
  const ImportedNetwork network = read(model);
  const std::vector<float> weight =
      network.weights.find(network.graph.segments[0].nodes[0].name + ".weight")->second.to_f32();
  EXPECT_EQ(weight[0], -7);
  EXPECT_EQ(weight[3], -8);
  EXPECT_EQ(weight[14], 3.5f);
  EXPECT_TRUE(network.is_quantised);
  // Without a zero point the integers are 0 to 255, and the image can be any number.
  EXPECT_EQ(network.ranges.find(graph::kInput)->second, (model::ActivationRange{25.5f, false}));
}

/// A zero point of a type.
void zero_point(ModelBuilder& model, const std::string& name, int type, int value) {
  TensorProto& zero = *model.graph().add_initializer();
  zero.set_name(name);
  zero.set_data_type(type);
  zero.add_int32_data(value);
}

/// A convolution whose output is quantised, and what the reader makes of it: its operations and
/// their ranges.
class QuantisedOutput : public ReadNetwork {
 protected:
  ImportedNetwork network(int type, int zero, float scale = 0.5f) {
    ModelBuilder model;
    model.conv();
    model.floats("scale", {}, {scale});
    zero_point(model, "zero", type, zero);
    model.node("QuantizeLinear", {"conv.out", "scale", "zero"}, "integers");
    model.node("DequantizeLinear", {"integers", "scale", "zero"}, "again");
    model.node("MaxPool", {"again"}, "smaller");
    set(*model.graph().mutable_node()->rbegin(), "kernel_shape", std::vector<std::int64_t>{2, 2});
    model.classifier("smaller");
    return read(model);
  }
  static std::vector<std::string> operations(const ImportedNetwork& network) {
    std::vector<std::string> names;
    for (const graph::Node& node : network.graph.segments[0].nodes)
      names.emplace_back(graph::op_name(node.op));
    return names;
  }
  static model::ActivationRange range_of(const ImportedNetwork& network, std::size_t node) {
    return network.ranges.at(network.graph.segments[0].nodes[node].name);
  }
};

TEST_F(QuantisedOutput, HasTheRangeThatItsIntegersStandFor) {
  const ImportedNetwork symmetric = network(TensorProto::INT8, 0);
  EXPECT_THAT(operations(symmetric), testing::ElementsAre("conv", "max_pool"));
  EXPECT_EQ(range_of(symmetric, 0), (model::ActivationRange{63.5f, true}));
  EXPECT_EQ(range_of(symmetric, 1), (model::ActivationRange{63.5f, true})) << "a pool passes it on";
  EXPECT_EQ(range_of(network(TensorProto::UINT8, 128), 0), (model::ActivationRange{63.5f, true}));
  EXPECT_EQ(range_of(network(TensorProto::UINT8, 55), 0), (model::ActivationRange{100, true}))
      << "[-27.5, 100]";
}

TEST_F(QuantisedOutput, KeepsTheReluThatTheIntegersReplaced) {
  const ImportedNetwork clamped = network(TensorProto::UINT8, 0);
  EXPECT_THAT(operations(clamped), testing::ElementsAre("conv", "clip", "max_pool"));
  EXPECT_EQ(std::get<graph::Clip>(clamped.graph.segments[0].nodes[1].op),
            (graph::Clip{.min = 0, .max = 127.5}));
  EXPECT_EQ(range_of(clamped, 1), (model::ActivationRange{127.5f, false}));
  EXPECT_THAT(operations(network(TensorProto::INT8, -128)),
              testing::ElementsAre("conv", "clip", "max_pool"));
}

// A ReLU is removed behind a layer only, so nothing is clipped behind other operations.
TEST_F(ReadNetwork, TakesAQuantisedSoftmaxAndPadAsTheyAre) {
  ModelBuilder model;
  model.conv();
  model.node("Relu", {"conv.out"}, "relu.out");
  model.integers("pads", {0, 0, 1, 1, 0, 0, 1, 1});
  model.node("Pad", {"relu.out", "pads"}, "padded");
  model.floats("scale", {}, {0.5f});
  zero_point(model, "zero", TensorProto::UINT8, 0);
  const auto quantise = [&](const std::string& tensor) {
    model.node("QuantizeLinear", {tensor, "scale", "zero"}, tensor + ".q");
    model.node("DequantizeLinear", {tensor + ".q", "scale", "zero"}, tensor + ".dq");
    return tensor + ".dq";
  };
  model.floats("w2", {5, 5, 3, 3});
  model.node("Conv", {quantise("padded"), "w2"}, "conv2.out");
  model.classifier("conv2.out");
  model.node("Softmax", {"logits"}, "shares");
  model.graph().mutable_output(0)->set_name(quantise("shares"));
  EXPECT_EQ(operations(read(model)), "conv relu conv global_avg_pool linear");
}

TEST_F(QuantisedOutput, HasNoRangeForMoreThan8Bits) {
  const ImportedNetwork wide = network(TensorProto::UINT16, 0);
  EXPECT_TRUE(wide.is_quantised);
  EXPECT_TRUE(wide.ranges.empty());
}

TEST_F(QuantisedOutput, RefusesInvalidScalesAndZeroPoints) {
  EXPECT_THAT(test::message_of([&] { network(TensorProto::UINT8, 0, 0); }),
              HasSubstr("its scale is 0, expected a number above 0"));
  EXPECT_THAT(test::message_of([&] { network(TensorProto::UINT8, 300); }), HasSubstr("zero point"));
}

TEST_F(ReadNetwork, RefusesPartsOfAnImageThatAreNoBins) {
  const auto slice = [](ModelBuilder& model, const std::string& output, std::int64_t begin,
                        std::int64_t end) {
    model.integers(output + ".begin", {begin});
    model.integers(output + ".end", {end});
    model.integers(output + ".axis", {2});
    model.node("Slice", {"image", output + ".begin", output + ".end", output + ".axis"}, output);
  };
  ModelBuilder cropped;
  slice(cropped, "rows", 2, 6);
  cropped.floats("w", {5, 3, 1, 1});
  cropped.node("Conv", {"rows", "w"}, "conv.out");
  cropped.classifier("conv.out");
  EXPECT_THAT(message(cropped), HasSubstr("supported as a bin of a pool only"));
  ModelBuilder uneven;  // the bins of 2 rows are 0 … 3 and 4 … 7
  slice(uneven, "top", 0, 3);
  slice(uneven, "bottom", 3, 8);
  for (const std::string half : {"top", "bottom"})
    set(uneven.node("ReduceMax", {half}, half + ".max"), "axes", std::vector<std::int64_t>{2, 3});
  set(uneven.node("Concat", {"top.max", "bottom.max"}, "joined"), "axis", std::int64_t{2});
  uneven.classifier("joined", 3);
  EXPECT_THAT(message(uneven), HasSubstr("joined along their channels only"));
}

// What a file leaves open or fixes.

TEST_F(ReadNetwork, NeedsTheSizeOfImagesThatTheFileLeavesOpen) {
  ModelBuilder model(17, {0, 3, 0, 0});
  model.conv();
  model.classifier("conv.out");
  EXPECT_THAT(message(model), HasSubstr("give it with --image-size"));
  EXPECT_EQ(read(model, ImageSize{.height = 9, .width = 11}).graph.input, (graph::Shape{3, 9, 11}));
}

TEST_F(ReadNetwork, RefusesAnotherSizeThanTheFileIsFor) {
  ModelBuilder model;
  model.conv();
  model.classifier("conv.out");
  EXPECT_THAT(message(model, ImageSize{.height = 9, .width = 8}),
              HasSubstr("--image-size: the height is 9, but the file is for 8"));
}

TEST_F(ReadNetwork, AcceptsAFixedBatch) {
  ModelBuilder model(17, {4, 3, 8, 8});
  model.conv();
  model.node("GlobalAveragePool", {"conv.out"}, "pooled");
  model.integers("shape", {4, 5});
  model.node("Reshape", {"pooled", "shape"}, "flat");
  model.floats("w", {5, 4});
  model.node("Gemm", {"flat", "w"}, "logits");
  EXPECT_EQ(operations(read(model)), "conv global_avg_pool linear");
}

TEST_F(ReadNetwork, RefusesAReshapeThatMovesTheBatch) {
  ModelBuilder model(17, {4, 3, 8, 8});
  model.conv();
  model.integers("shape", {2, -1});
  model.node("Reshape", {"conv.out", "shape"}, "logits");
  EXPECT_THAT(message(model), HasSubstr("the batch must stay the first dimension"));
}

// Operator sets.

TEST_F(ReadNetwork, ReadsOpsets9To21) {
  for (const int opset : {8, 22}) {
    ModelBuilder model(opset);
    model.conv();
    model.classifier("conv.out");
    EXPECT_THAT(message(model), HasSubstr("9 to 21 are supported"));
  }
  for (const int opset : {9, 21}) {
    ModelBuilder model(opset);
    model.conv();
    model.classifier("conv.out");
    EXPECT_EQ(read(model).opset, opset);
  }
}

TEST_F(ReadNetwork, TakesTheLimitsOfAClipFromWhereTheOpsetHasThem) {
  const auto make = [](int opset) {
    return after_conv(
        [](ModelBuilder& m) {
          NodeProto& clip = m.node("Clip", {"conv.out"}, "x");
          set(clip, "min", 0.0f);
          set(clip, "max", 6.0f);
          return "x";
        },
        opset);
  };
  EXPECT_EQ(operations(read(make(10))), "conv relu6 global_avg_pool linear");
  EXPECT_THAT(message(make(11)), HasSubstr("the attribute \"min\" is not supported"));
}

TEST_F(ReadNetwork, TakesTheAxesOfASqueezeFromWhereTheOpsetHasThem) {
  const auto make = [](int opset, bool attribute) {
    ModelBuilder model(opset);
    model.conv();
    model.node("GlobalAveragePool", {"conv.out"}, "pooled");
    NodeProto& squeeze = model.node("Squeeze", {"pooled"}, "flat");
    if (attribute) {
      set(squeeze, "axes", std::vector<std::int64_t>{2, 3});
    } else {
      model.integers("axes", {2, 3});
      squeeze.add_input("axes");
    }
    model.floats("w", {5, 4});
    model.node("MatMul", {"flat", "w"}, "logits");
    return model;
  };
  EXPECT_EQ(operations(read(make(12, true))), "conv global_avg_pool linear");
  EXPECT_EQ(operations(read(make(13, false))), "conv global_avg_pool linear");
  EXPECT_THAT(message(make(13, true)), HasSubstr("the attribute \"axes\" is not supported"));
}

// Control flow and functions whose path is known.

TEST_F(ReadNetwork, TakesTheBranchOfAKnownCondition) {
  ModelBuilder model;
  model.conv();
  model.integers("yes", {1});
  NodeProto& decision = model.node("If", {"yes"}, "x");
  for (const char* name : {"then_branch", "else_branch"}) {
    AttributeProto& branch = *decision.add_attribute();
    branch.set_name(name);
    branch.set_type(AttributeProto::GRAPH);
    NodeProto& node = *branch.mutable_g()->add_node();
    node.set_op_type(std::string(name) == "then_branch" ? "Relu" : "Sigmoid");
    node.add_input("conv.out");
    node.add_output(std::string(name) + ".out");
    branch.mutable_g()->add_output()->set_name(std::string(name) + ".out");
  }
  model.classifier("x");
  EXPECT_EQ(operations(read(model)), "conv relu global_avg_pool linear");
}

TEST_F(ReadNetwork, ReadsTheFunctionsOfAModel) {
  ModelBuilder model;
  auto& function = *model.proto().add_functions();
  function.set_name("act");
  function.set_domain("mine");
  function.add_input("x");
  function.add_output("y");
  function.add_attribute("slope");
  auto& opset = *function.add_opset_import();
  opset.set_version(17);
  NodeProto& body = *function.add_node();
  body.set_op_type("HardSigmoid");
  body.add_input("x");
  body.add_output("y");
  AttributeProto& reference = *body.add_attribute();
  reference.set_name("alpha");
  reference.set_type(AttributeProto::FLOAT);
  reference.set_ref_attr_name("slope");
  model.conv();
  NodeProto& call = model.node("act", {"conv.out"}, "x");
  call.set_domain("mine");
  set(call, "slope", 0.25f);
  model.classifier("x");
  const ImportedNetwork network = read(model);
  EXPECT_EQ(operations(network), "conv hard_sigmoid global_avg_pool linear");
  EXPECT_EQ(std::get<graph::HardSigmoid>(network.graph.segments[0].nodes[1].op).alpha, 0.25);
}

TEST_F(ReadNetwork, RefusesAFunctionThatCallsItself) {
  ModelBuilder model;
  auto& function = *model.proto().add_functions();
  function.set_name("f");
  function.add_input("x");
  function.add_output("y");
  for (const char* output : {"y", "z"}) {
    NodeProto& body = *function.add_node();
    body.set_op_type("f");
    body.add_input("x");
    body.add_output(output);
  }
  model.conv();
  model.node("f", {"conv.out"}, "x");
  model.classifier("x");
  EXPECT_THAT(message(model), HasSubstr("the network has more than 20000 nodes"));
}

// What is refused, and how.

TEST_F(ReadNetwork, ListsAllNodesThatCannotBeImported) {
  const std::string text = message(after_conv([](ModelBuilder& m) {
    m.node("GridSample", {"conv.out", "conv.out"}, "a");
    m.node("Relu", {"a"}, "b");
    m.node("Unheard", {"b"}, "c");
    m.node("Softplus", {"c"}, "d");
    m.node("Elu", {"d"}, "e");
    return "e";
  }));
  EXPECT_THAT(text, HasSubstr("net.onnx: 4 of 9 nodes cannot be imported: node \"a/GridSample\" "
                              "(\"GridSample\"): the operator is not supported; "));
  EXPECT_THAT(text, HasSubstr("node \"c/Unheard\""));
  EXPECT_THAT(text, HasSubstr("node \"d/Softplus\""));
  EXPECT_THAT(text, HasSubstr("; and 1 more"));
  EXPECT_THAT(text, Not(HasSubstr("\n")));
}

TEST_F(ReadNetwork, ChecksTheNumberOfInputsBeforeItReadsThem) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                m.node("Conv", {"conv.out"}, "x");
                return "x";
              })),
              HasSubstr("takes 2 to 3 inputs, got 1"));
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                m.node("Relu", {""}, "x");
                return "x";
              })),
              HasSubstr("input 1 is missing"));
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                m.node("Add", {"conv.out", "nowhere"}, "x");
                return "x";
              })),
              HasSubstr("no node before it computes the input \"nowhere\""));
}

TEST_F(ReadNetwork, RefusesAnAttributeThatItDoesNotRead) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                set(m.node("Relu", {"conv.out"}, "x"), "slope", 0.1f);
                return "x";
              })),
              HasSubstr("node \"x/Relu\" (\"Relu\"): the attribute \"slope\" is not supported"));
}

TEST_F(ReadNetwork, RefusesABatchNormInTrainingMode) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                for (const char* name : {"g", "b", "m", "v"}) m.floats(name, {5}, {1, 1, 1, 1, 1});
                set(m.node("BatchNormalization", {"conv.out", "g", "b", "m", "v"}, "x"),
                    "training_mode", std::int64_t{1});
                return "x";
              })),
              HasSubstr("export the network with model.eval()"));
}

TEST_F(ReadNetwork, RefusesAttention) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                m.node("MatMul", {"conv.out", "conv.out"}, "x");
                return "x";
              })),
              HasSubstr("as in attention, is not supported"));
}

TEST_F(ReadNetwork, SaysInOneLineThatATransformerHasAttention) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                m.node("MatMul", {"conv.out", "conv.out"}, "scores");
                m.node("Softmax", {"scores"}, "shares");
                m.node("Dropout", {"shares"}, "kept");
                m.node("MatMul", {"kept", "conv.out"}, "x");
                return "x";
              })),
              HasSubstr("cannot be imported: the network has attention, as transformers have (node "
                        "\"x/MatMul\")"));
}

TEST_F(ReadNetwork, ListsOtherOperatorsThatAreNotSupportedBesideAttention) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                m.node("Mish", {"conv.out"}, "mish");
                m.node("Mish", {"mish"}, "mish2");
                m.node("Einsum", {"mish2", "conv.out"}, "scores");
                m.node("Softmax", {"scores"}, "shares");
                m.node("Einsum", {"shares", "conv.out"}, "product");
                m.node("LpPool", {"product"}, "x");
                return "x";
              })),
              HasSubstr("offramp runs convolutional classifiers; operators that are not supported: "
                        "Mish, Einsum, LpPool"));
}

TEST_F(ReadNetwork, RefusesWeightsThatAreNotFinite) {
  ModelBuilder model;
  model.conv();
  model.node("Div", {"conv.out", "zero"}, "x");
  model.floats("zero", {}, {0.0f});
  model.classifier("x");
  EXPECT_EQ(message(model), (folder_.path() / "net.onnx").string() +
                                ": tensor \"conv.bias\": a value is not finite: inf");
}

TEST_F(ReadNetwork, RefusesMoreOperationsThanAModelFileMayHave) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                std::string x = "conv.out";
                for (int i = 0; i < 10'000; ++i) {
                  const std::string next = "x" + std::to_string(i);
                  m.node(i % 2 == 0 ? "Sigmoid" : "Relu", {x}, next);
                  x = next;
                }
                return x;
              })),
              HasSubstr("net.onnx: the network has 10001 operations, at most 10000"));
}

TEST_F(ReadNetwork, CountsTheNodesOfInnerGraphsBeforeItParsesThem) {
  const ModelBuilder model = after_conv([](ModelBuilder& m) {
    AttributeProto& branch = *m.node("If", {"nothing"}, "x").add_attribute();
    branch.set_name("then_branch");
    branch.set_type(AttributeProto::GRAPH);
    for (int i = 0; i < 20'000; ++i) branch.mutable_g()->add_node()->set_op_type("Relu");
    return "x";
  });
  EXPECT_THAT(message(model), HasSubstr("more than 20000 nodes"));
}

TEST_F(ReadNetwork, RefusesAWeightWhoseDataDoNotFitItsShape) {
  ModelBuilder model;
  model.conv();
  model.classifier("conv.out");
  model.graph().mutable_initializer(0)->mutable_raw_data()->pop_back();
  EXPECT_THAT(message(model), HasSubstr("tensor \"conv.weight\": holds 539 bytes, but its shape "
                                        "[5,3,3,3] has 135 elements of 4"));
  model.graph().mutable_initializer(0)->set_dims(0, std::int64_t{1} << 62);
  EXPECT_THAT(message(model), HasSubstr("more than 2^31 elements"));
  model.graph().mutable_initializer(0)->set_dims(0, -5);
  EXPECT_THAT(message(model), HasSubstr("has a negative size"));
}

TEST_F(ReadNetwork, RefusesConstantsThatAreFarLargerThanTheFile) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                m.integers("sizes", {40'000, 40'000});
                m.node("ConstantOfShape", {"sizes"}, "large");
                m.node("Add", {"conv.out", "large"}, "x");
                return "x";
              })),
              HasSubstr("far more values than the file holds"));
}

TEST_F(ReadNetwork, RefusesAWeightThatManyLayersShare) {
  EXPECT_THAT(message(after_conv([](ModelBuilder& m) {
                m.floats("wide", {400, 5, 3, 3});
                m.floats("same", {400, 400, 1, 1});
                std::string x = "x0";
                m.node("Conv", {"conv.out", "wide"}, x);
                for (int i = 1; i < 150; ++i) {
                  m.node("Conv", {x, "same"}, "x" + std::to_string(i));
                  x = "x" + std::to_string(i);
                }
                return x;
              })),
              HasSubstr("far larger than the file"));
}

TEST_F(ReadNetwork, ReadsLargeWeightsInPlaceAsItReadsOthers) {
  // 5 × 30 × 8 × 8 values are more than the 4096 bytes from which on weights stay in the file.
  const auto build = [](bool in_list) {
    return after_conv([&](ModelBuilder& m) {
      TensorProto& weight = m.floats("large", {30, 5, 8, 8});
      if (in_list) {
        const auto* values = reinterpret_cast<const float*>(weight.raw_data().data());
        weight.mutable_float_data()->Add(values, values + weight.raw_data().size() / 4);
        weight.clear_raw_data();
      }
      set(m.node("Conv", {"conv.out", "large"}, "large.out"), "pads",
          std::vector<std::int64_t>{4, 4, 4, 4});
      m.floats("narrow", {5, 30, 1, 1});
      m.node("Conv", {"large.out", "narrow"}, "x");
      return "x";
    });
  };
  const ImportedNetwork in_place = read(build(false)), in_list = read(build(true));
  EXPECT_EQ(in_place.weights, in_list.weights);
  EXPECT_EQ(in_place.weights.size(), 6u);
}

TEST_F(ReadNetwork, RefusesEveryTruncationInOneLine) {
  ModelBuilder model;
  model.conv();
  model.classifier("conv.out");
  const std::string bytes = model.proto().SerializeAsString();
  const fs::path path = folder_.path() / "short.onnx";
  for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 50) {
    std::ofstream(path, std::ios::binary) << bytes.substr(0, size);
    const std::string text = message_of([&] { read_network(path); });
    EXPECT_THAT(text, HasSubstr("short.onnx")) << size;
    EXPECT_THAT(text, Not(HasSubstr("\n"))) << size;
  }
}

TEST_F(ReadNetwork, NamesTheKindOfAFileThatIsNoOnnxFile) {
  const fs::path path = folder_.path() / "net.pt";
  std::ofstream(path) << "PK\x03\x04 and so on";
  EXPECT_THAT(message_of([&] { read_network(path); }),
              HasSubstr("one of torch.save; export the network"));
  std::ofstream(path) << "some text";
  EXPECT_THAT(message_of([&] { read_network(path); }), HasSubstr("not an ONNX file"));
}

// External data.

class ExternalData : public ReadNetwork {
 protected:
  /// A model whose first weight lies in the file `location`, 8 bytes after its beginning.
  ModelBuilder model(const std::string& location) {
    ModelBuilder model;
    model.conv();
    model.classifier("conv.out");
    TensorProto& tensor = *model.graph().mutable_initializer(0);
    const std::string bytes = tensor.raw_data();
    std::ofstream(folder_.path() / "net.data", std::ios::binary) << "8 bytes." << bytes;
    tensor.clear_raw_data();
    tensor.set_data_location(TensorProto::EXTERNAL);
    entry(tensor, "location", location);
    entry(tensor, "offset", "8");
    entry(tensor, "length", std::to_string(bytes.size()));
    return model;
  }
  static void entry(TensorProto& tensor, const std::string& key, const std::string& value) {
    auto& item = *tensor.add_external_data();
    item.set_key(key);
    item.set_value(value);
  }
};

TEST_F(ExternalData, IsReadFromAFileBesideTheModel) {
  const std::vector<float> external = logits(read(model("net.data")));
  ModelBuilder inside;
  inside.conv();
  inside.classifier("conv.out");
  EXPECT_EQ(external, logits(read(inside)));
}

TEST_F(ExternalData, MustHaveAPlainFileName) {
  for (const char* name : {"../net.data", "/etc/passwd", "sub/net.data", "..", ".", "", "a\\b"})
    EXPECT_THAT(message(model(name)), HasSubstr("only a plain file name")) << name;
}

TEST_F(ExternalData, MustExist) {
  EXPECT_THAT(message(model("other.data")), HasSubstr("which is not beside the model"));
}

TEST_F(ExternalData, MayNotBeALink) {
  fs::create_symlink("net.data", folder_.path() / "link.data");
  EXPECT_THAT(message(model("link.data")), HasSubstr("which is not a regular file"));
  fs::create_directory(folder_.path() / "folder.data");
  EXPECT_THAT(message(model("folder.data")), HasSubstr("which is not a regular file"));
}

TEST_F(ExternalData, MustLieInsideTheFile) {
  ModelBuilder past_the_end = model("net.data");
  past_the_end.graph().mutable_initializer(0)->mutable_external_data(1)->set_value("9");
  EXPECT_THAT(message(past_the_end), HasSubstr("which has 548 bytes"));
  past_the_end.graph().mutable_initializer(0)->mutable_external_data(1)->set_value(
      "18446744073709551615");
  EXPECT_THAT(message(past_the_end), HasSubstr("which has 548 bytes"));
  past_the_end.graph().mutable_initializer(0)->mutable_external_data(1)->set_value("-1");
  EXPECT_THAT(message(past_the_end), HasSubstr("is not a number"));
}

}  // namespace
}  // namespace offramp::onnx
