#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "tests/model/tiny_model.h"

namespace offramp::model {
namespace {

namespace fs = std::filesystem;
using ::testing::ThrowsMessage;

class Weights : public ::testing::Test {
 protected:
  /// Returns a state dict of the plain tiny network as PyTorch would save it.
  Weights() : tensors_(tiny_model().weights) {
    tensors_.erase("exits.1.fc.weight");
    tensors_.erase("exits.1.fc.bias");
    tensors_["bn1.num_batches_tracked"] = core::HostTensor::of({}, std::vector<std::int64_t>{100});
  }

  core::Tensors load(bool skip_classifiers = false) {
    core::write_safetensors(path_, {{"format", "pt"}}, tensors_);
    return load_weights(path_, tiny_graph(), skip_classifiers);
  }
  void expect_refused(const std::string& message, bool skip_classifiers = false) {
    EXPECT_THAT([&] { load(skip_classifiers); },
                ThrowsMessage<Error>(path_.string() + ": " + message));
  }

  core::TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "weights.safetensors";
  core::Tensors tensors_;
};

TEST_F(Weights, OfAPlainNetworkLeaveItsNewExitsOut) {
  core::Tensors expected = tensors_;
  expected.erase("bn1.num_batches_tracked");
  EXPECT_EQ(load(), expected);
}

TEST_F(Weights, MayHaveThePrefixOfAWrapperBeforeAllTheirNames) {
  core::Tensors expected = tensors_;
  expected.erase("bn1.num_batches_tracked");
  for (const std::string prefix : {"module.", "model.", "model.module.", "_orig_mod."}) {
    core::Tensors wrapped;
    for (const auto& [name, tensor] : tensors_) wrapped.emplace(prefix + name, tensor);
    std::swap(tensors_, wrapped);
    EXPECT_EQ(load(), expected) << prefix;
    std::swap(tensors_, wrapped);
  }
  core::Tensors strange;
  for (const auto& [name, tensor] : tensors_) strange.emplace("layer9." + name, tensor);
  tensors_ = strange;
  EXPECT_THAT([&] { load(); }, ThrowsMessage<Error>(::testing::HasSubstr(" is missing")));
}

TEST_F(Weights, APrefixMustStandBeforeAllNames) {
  core::Tensors wrapped = {{"extra", core::HostTensor::of({1}, std::vector<float>{1})}};
  for (const auto& [name, tensor] : tensors_) wrapped.emplace("module." + name, tensor);
  tensors_ = wrapped;
  expect_refused("tensor \"extra\": the network \"tiny\" has no such parameter");
}

TEST_F(Weights, OfAModelFileLeaveItsOtherTensorsOut) {
  save_model(path_, tiny_model(),
             {{"optimizer.x", core::HostTensor::of({1}, std::vector<float>{1})}});
  EXPECT_EQ(load_weights(path_, tiny_graph()), tiny_model().weights);
}

TEST_F(Weights, OfAModelFileStartANetworkWithoutItsExits) {
  save_model(path_, tiny_model());
  const graph::Graph plain = remove_exits(tiny_graph(), {0});
  std::size_t num_skipped = 0;
  const core::Tensors loaded = load_weights(path_, plain, true, &num_skipped);
  EXPECT_EQ(num_skipped, 2u);  // exits.1.fc.weight and its bias
  EXPECT_FALSE(loaded.contains("exits.1.fc.weight"));
  EXPECT_EQ(loaded.at("fc.weight"), tiny_model().weights.at("fc.weight"));
  EXPECT_EQ(loaded.size(), tiny_model().weights.size() - 2);
  EXPECT_THAT([&] { load_weights(path_, plain); },
              ThrowsMessage<Error>(::testing::HasSubstr("has no such parameter")));
}

TEST_F(Weights, OfAModelFileStartNoHeadOfAnotherMake) {
  save_model(path_, tiny_model());
  graph::Graph other = tiny_graph();
  other.segments[0].head[0].op = graph::SpatialPyramidPool{{1}};  // the head now has another pool
  std::size_t num_skipped = 0;
  const core::Tensors loaded = load_weights(path_, other, true, &num_skipped);
  EXPECT_FALSE(loaded.contains("exits.1.fc.weight"));
  EXPECT_FALSE(loaded.contains("exits.1.fc.bias")) << "a head is taken whole or not at all";
  EXPECT_EQ(num_skipped, 2u);
}

/// Returns a ResNet-18 of width 1 with heads of one kind after some of its blocks.
graph::Graph small_network(const std::vector<std::string>& exits, const std::string& head) {
  graph::NetworkSpec spec;
  spec.options.width = 1;
  spec.exits = exits;
  spec.heads = {head};
  return graph::build_network(spec);
}

TEST_F(Weights, OfAModelFileStartTheHeadAfterTheSameBlockWhateverItsNumber) {
  ModelFile model;
  model.graph = small_network({"2", "4"}, "spp");
  model.weights = graph::random_weights(model.graph, 3);
  for (int i = 0; i < 10; ++i) model.classes.push_back(std::to_string(i));
  model.preprocessing = {32, 32, core::Fit::squeeze, {0, 0, 0}, {1, 1, 1}};
  model.loss_weights = {1, 1, 1};
  save_model(path_, model);
  const core::Tensors later = load_weights(path_, small_network({"4"}, "spp"), true);
  EXPECT_EQ(later.at("exits.1.fc.weight"), model.weights.at("exits.2.fc.weight"));
  graph::NetworkSpec truncated;
  truncated.options.width = 1;
  truncated.units = 4;
  truncated.heads = {"spp"};
  std::size_t num_skipped = 0;
  const core::Tensors first_half =
      load_weights(path_, graph::build_network(truncated), true, &num_skipped);
  EXPECT_EQ(first_half.at("classifier.fc.weight"), model.weights.at("exits.2.fc.weight"));
  EXPECT_EQ(first_half.size(), graph::parameters(graph::build_network(truncated)).size());
  EXPECT_EQ(first_half.size() + num_skipped, model.weights.size());
  EXPECT_THAT([&] { load_weights(path_, graph::build_network(truncated)); },
              ThrowsMessage<Error>(::testing::HasSubstr("has no such parameter")));
  const core::Tensors nowhere = load_weights(path_, small_network({"3"}, "spp"), true);
  EXPECT_FALSE(nowhere.contains("exits.1.fc.weight"));
  const core::Tensors other_kind = load_weights(path_, small_network({"2"}, "avg"), true);
  EXPECT_FALSE(other_kind.contains("exits.1.fc.weight"));
  EXPECT_FALSE(other_kind.contains("exits.1.fc.bias"));
}

TEST_F(Weights, LeaveEveryClassifierOfOtherClassesOutOnRequest) {
  tensors_ = tiny_model().weights;
  for (const auto& [name, inputs] : {std::pair("fc", 4), std::pair("exits.1.fc", 2)}) {
    const std::string classifier = name;
    tensors_[classifier + ".weight"] =
        core::HostTensor::of({5, inputs}, std::vector<float>(5 * static_cast<std::size_t>(inputs)));
    tensors_[classifier + ".bias"] = core::HostTensor::of({5}, std::vector<float>(5));
  }
  const core::Tensors loaded = load(true);
  for (const char* name : {"fc.weight", "fc.bias", "exits.1.fc.weight", "exits.1.fc.bias"})
    EXPECT_FALSE(loaded.contains(name)) << name;
}

TEST_F(Weights, LeaveTheClassifierOutOnRequest) {
  tensors_["fc.weight"] = core::HostTensor::of({1000, 4}, std::vector<float>(4000));
  tensors_["fc.bias"] = core::HostTensor::of({1000}, std::vector<float>(1000));
  expect_refused(
      "tensor \"fc.weight\": shape differs from the graph: got [1000,4], expected [3,4]");
  const core::Tensors loaded = load(true);
  EXPECT_FALSE(loaded.contains("fc.weight"));
  EXPECT_FALSE(loaded.contains("fc.bias"));
  EXPECT_TRUE(loaded.contains("conv2.weight"));
}

TEST_F(Weights, InF64BecomeF32) {
  core::HostTensor wide{core::DType::f64, {4}, std::vector<std::byte>(32)};
  for (double& value : wide.as<double>()) value = 0.1;
  tensors_["conv2.bias"] = wide;
  EXPECT_EQ(load()["conv2.bias"], core::HostTensor::of({4}, std::vector<float>(4, 0.1f)));
  wide.as<double>()[2] = 1e300;
  tensors_["conv2.bias"] = wide;
  expect_refused("tensor \"conv2.bias\": a value is not finite: inf");
}

TEST_F(Weights, OfAnotherNetworkAreRefused) {
  tensors_["layer5.weight"] = core::HostTensor::of({1}, std::vector<float>{1});
  expect_refused("tensor \"layer5.weight\": the network \"tiny\" has no such parameter");
  tensors_.erase("layer5.weight");
  tensors_.erase("conv2.bias");
  expect_refused(
      "tensor \"conv2.bias\" is missing: are these the weights of another network than \"tiny\"?");
}

TEST_F(Weights, OfAWrongShapeTypeOrValueAreRefused) {
  const core::Tensors good = tensors_;
  tensors_["conv1.weight"] = core::HostTensor::of({2, 1, 7, 7}, std::vector<float>(98));
  expect_refused(
      "tensor \"conv1.weight\": shape differs from the graph: got [2,1,7,7], expected [2,1,3,3]");
  tensors_ = good;
  tensors_["conv2.bias"] = core::HostTensor::of({4}, std::vector<std::uint8_t>(4));
  expect_refused("tensor \"conv2.bias\": got U8, expected F32 or BF16");
  tensors_ = good;
  tensors_["conv2.bias"].as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  expect_refused("tensor \"conv2.bias\": a value is not finite: nan");
}

TEST_F(Weights, FromOnnxComeWithAdvice) {
  const fs::path path = folder_.path() / "net.onnx";
  std::ofstream(path, std::ios::binary) << "\x08\x07\x12\x07pytorch";
  EXPECT_THAT([&] { load_weights(path, tiny_graph()); },
              ThrowsMessage<Error>(
                  path.string() +
                  ": an ONNX file, not a model file; make one with \"offramp import net.onnx "
                  "-o net.safetensors\""));
}

TEST_F(Weights, FromPickleComeWithAdvice) {
  const fs::path pickle = folder_.path() / "resnet18.pth";
  for (const std::string& start : {std::string("PK\x03\x04"), std::string("\x80\x02\x8a\x0a")}) {
    std::ofstream(pickle, std::ios::binary) << start << std::string(64, '\x01');
    EXPECT_THAT([&] { load_weights(pickle, tiny_graph()); },
                ThrowsMessage<Error>(
                    pickle.string() +
                    ": written by torch.save, not a safetensors file; convert it in Python with "
                    "safetensors.torch.save_file(torch.load(\"resnet18.pth\", weights_only=True), "
                    "\"resnet18.safetensors\")"));
  }
}

TEST_F(Weights, FromAMissingOrEmptyFileAreRefused) {
  EXPECT_THAT([&] { load_weights(path_, tiny_graph()); },
              ThrowsMessage<Error>(path_.string() + ": cannot open: No such file or directory"));
  tensors_.clear();
  expect_refused(
      "tensor \"conv1.weight\" is missing: are these the weights of another network than "
      "\"tiny\"?");
}

}  // namespace
}  // namespace offramp::model
