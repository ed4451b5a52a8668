#include "model/deployment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "model/model_file.h"
#include "tests/model/tiny_model.h"

namespace offramp::model {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Deployment deployment() {
  return {"int8",
          {{"input", {2.5f, true}}, {"relu1", {3.75f, false}}},
          {2000, 0.9875, 0.88, 0.8815, -0.004, 0.001}};
}

std::string with(const std::string& from, const std::string& to) {
  std::string text = deployment_to_json(deployment());
  const std::size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from << " is not in " << text;
  return text.replace(at, from.size(), to);
}

TEST(Deployment, IsWithinItsBoundsOrNot) {
  const auto within = [](const char* precision, double agreement, double lost) {
    return is_within_bounds({precision, {}, {2000, agreement, 0.9 - lost, 0.9, 0, 0}});
  };
  EXPECT_TRUE(within("int8", 0.985, 0.003));
  EXPECT_FALSE(within("int8", 0.9845, 0));
  EXPECT_FALSE(within("int8", 1, 0.0035));
  EXPECT_TRUE(within("int8", 1, -0.02)) << "better is not worse";
  EXPECT_TRUE(within("bf16", 0.995, 0.001));
  EXPECT_FALSE(within("bf16", 0.9945, 0));
  EXPECT_FALSE(within("bf16", 1, 0.0015));
  const auto of_few = [](std::int64_t images, double agree, double lost) {
    const auto n = static_cast<double>(images);
    return is_within_bounds({"int8", {}, {images, agree / n, (n - lost) / n, 1, 0, 0}});
  };
  EXPECT_TRUE(of_few(200, 198, 1)) << "half a point, but one image";
  EXPECT_FALSE(of_few(200, 198, 2));
  EXPECT_FALSE(of_few(50, 49, 1)) << "98 % the same answers";
  EXPECT_FALSE(is_within_bounds({"int8", {}, {0, 1, 0.9, 0.9, 0, 0}})) << "never measured";
}

TEST(DeploymentJson, ReadsWhatItWrites) {
  EXPECT_EQ(deployment_from_json(deployment_to_json(deployment())), deployment());
  const Deployment bf16{"bf16", {}, {}};
  EXPECT_EQ(deployment_from_json(deployment_to_json(bf16)), bf16);
}

TEST(DeploymentJson, IgnoresTheLogitsOfDrawnImagesThatOlderFilesHold) {
  std::string text = deployment_to_json(deployment());
  text.insert(text.size() - 1, R"(,"check":{"seed":7,"logits":[0.1,-2.5]})");
  EXPECT_EQ(deployment_from_json(text), deployment());
}

TEST(DeploymentJson, RefusesInvalidFields) {
  const std::pair<std::string, std::string> refused[] = {
      {with(R"("int8")", R"("int4")"), "precision: got \"int4\", expected bf16 or int8"},
      {with(R"("int8")", R"("bf16")"), "ranges: only precision int8 may have ranges"},
      {with("2.5", "0"), "ranges[0].magnitude"},
      {with("2.5", "-1"), "ranges[0].magnitude"},
      {with("2.5", "null"), "ranges[0].magnitude"},
      {with("2.5", "1e300"), "ranges[0].magnitude"},
      {with("\"relu1\"", "\"input\""), "ranges[1]: \"input\" appears twice"},
      {with("true", "1"), "ranges[0].signed"},
      {with("0.9875", "1.5"), "measured.agreement"},
      {with("2000", "-1"), "measured.images"},
      {with("[-0.004,0.001]", "[-0.004]"),
       "measured.difference_interval: got 1 values, expected 2"},
      {with("\"measured\"", "\"measure\""), "measured"},
      {R"({"precision":"int8","ranges":[],"measured":{"images":0,"agreement":1,"accuracy":0,)"
       R"("reference_accuracy":0,"difference_interval":[0,0]}})",
       "ranges: precision int8 needs at least one"},
  };
  for (const auto& [text, message] : refused)
    EXPECT_THAT([&text = text] { deployment_from_json(text); },
                ThrowsMessage<Error>(HasSubstr(message)));
}

/// Returns the tiny model with its first convolution in 8 bits.
class EightBits : public testing::Test {
 protected:
  void SetUp() override {
    model = tiny_model();
    std::vector<float> values;
    for (int i = 0; i < 18; ++i) values.push_back((i < 9 ? 0.5f : 0.25f) * static_cast<float>(i));
    model.weights.insert_or_assign("conv1.weight", core::HostTensor::of({2, 1, 3, 3}, values));
    model.weight_scales["conv1.weight"] = {0.5f, 0.25f};
    path = folder.path() / "model.safetensors";
    save_model(path, model);
    const core::Safetensors file = core::Safetensors::open(path);
    metadata = {file.metadata().begin(), file.metadata().end()};
    for (const auto& [name, view] : file.tensors()) tensors.emplace(name, view.copy());
  }

  /// Changes the tensors of the file and checks the message of the error when it is loaded.
  void expect_refused(const std::string& message) {
    core::write_safetensors(path, metadata, tensors);
    EXPECT_THAT([&] { load_model(path); }, ThrowsMessage<Error>(HasSubstr(message)));
    EXPECT_THAT([&] { map_model(path); }, ThrowsMessage<Error>(HasSubstr(message)));
  }

  core::TemporaryFolder folder;
  std::filesystem::path path;
  ModelFile model;
  core::Metadata metadata;
  core::Tensors tensors;
};

TEST_F(EightBits, AreIntegersWithAScalePerChannel) {
  const core::HostTensor& written = tensors.at("conv1.weight");
  ASSERT_EQ(written.dtype, core::DType::i8);
  for (int i = 0; i < 18; ++i)
    EXPECT_EQ(
        static_cast<int>(static_cast<std::int8_t>(written.bytes[static_cast<std::size_t>(i)])), i);
  EXPECT_EQ(tensors.at("conv1.weight_scale"), core::HostTensor::of({2}, std::vector{0.5f, 0.25f}));
  core::Tensors extra;
  EXPECT_EQ(load_model(path, &extra).weights, model.weights);
  EXPECT_TRUE(extra.empty()) << "scales are the model's own";
}

TEST_F(EightBits, AreAStartForTraining) {
  EXPECT_EQ(load_weights(path, model.graph), model.weights);
  const core::Tensors plain = load_weights(path, remove_exits(model.graph, {0}), true);
  EXPECT_EQ(plain.at("conv1.weight"), model.weights.at("conv1.weight"));
  EXPECT_FALSE(plain.contains("exits.1.fc.weight"));
  tensors.erase("conv1.weight_scale");
  core::write_safetensors(path, metadata, tensors);
  EXPECT_THAT([&] { load_weights(path, model.graph); },
              ThrowsMessage<Error>(HasSubstr("conv1.weight_scale")));
}

TEST_F(EightBits, OfABareStateDictAreRefused) {
  tensors.erase("conv1.weight_scale");
  core::write_safetensors(path, {{"format", "pt"}}, tensors);
  EXPECT_THAT(
      [&] { load_weights(path, model.graph); },
      ThrowsMessage<Error>(HasSubstr("tensor \"conv1.weight\": got I8, expected F32 or BF16")));
}

TEST_F(EightBits, NeedTheirScales) {
  tensors.erase("conv1.weight_scale");
  expect_refused("conv1.weight_scale");
}

TEST_F(EightBits, RefuseInvalidScales) {
  for (const float bad :
       {0.0f, -0.5f, std::nanf(""), std::numeric_limits<float>::infinity(), 3e38f}) {
    tensors.insert_or_assign("conv1.weight_scale",
                             core::HostTensor::of({2}, std::vector{0.5f, bad}));
    expect_refused(
        "tensor \"conv1.weight_scale\": expected scales above 0 whose product with "
        "127 is finite, got ");
  }
  tensors.insert_or_assign("conv1.weight_scale", core::HostTensor::of({1}, std::vector{0.5f}));
  expect_refused("got F32 [1], expected F32 [2]");
}

TEST_F(EightBits, HaveTheShapeOfTheGraph) {
  tensors.insert_or_assign(
      "conv1.weight", core::HostTensor{core::DType::i8, {2, 9}, tensors.at("conv1.weight").bytes});
  expect_refused("shape differs from the graph: got [2,9], expected [2,1,3,3]");
}

TEST_F(EightBits, DoNotReachMinus128) {
  tensors.at("conv1.weight").bytes[3] = std::byte{0x80};
  expect_refused("tensor \"conv1.weight\": got the value -128, expected -127 to 127");
}

TEST_F(EightBits, AreForTheWeightsOfConvolutionsAlone) {
  const core::Tensors before = tensors;
  for (const char* name : {"bn1.running_var", "bn1.weight", "conv2.bias", "fc.weight"}) {
    tensors = before;
    const graph::Shape shape = tensors.at(name).shape;
    const auto count = static_cast<std::size_t>(core::element_count(shape));
    tensors.insert_or_assign(
        name, core::HostTensor{core::DType::i8, shape, std::vector(count, std::byte{0xfb})});
    tensors.insert_or_assign(
        name + std::string("_scale"),
        core::HostTensor::of({shape[0]}, std::vector(static_cast<std::size_t>(shape[0]), 1.0f)));
    expect_refused(std::string("tensor \"") + name +
                   "\": got I8, but only weights of convolutions may be I8");
  }
  model.weights.insert_or_assign("bn1.bias", core::HostTensor::of({2}, std::vector{1.0f, 2.0f}));
  model.weight_scales["bn1.bias"] = {1, 1};
  EXPECT_THAT([&] { save_model(path, model); },
              ThrowsMessage<Error>(HasSubstr("only weights of convolutions may be I8")));
}

TEST_F(EightBits, AreNotWrittenWhereValuesAreNoMultiples) {
  model.weight_scales["conv1.weight"] = {0.5f, 0.3f};
  EXPECT_THAT([&] { save_model(path, model); },
              ThrowsMessage<Error>(HasSubstr("a value is not a multiple of its scale")));
  model.weight_scales = {{"conv7.weight", {1}}};
  EXPECT_THAT([&] { save_model(path, model); },
              ThrowsMessage<Error>(HasSubstr("\"conv7.weight\": not a parameter of the graph")));
}

}  // namespace
}  // namespace offramp::model
