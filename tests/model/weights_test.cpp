#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "tests/model/tiny_model.h"

namespace offramp {
namespace {

namespace fs = std::filesystem;
using ::testing::ThrowsMessage;

class Weights : public ::testing::Test {
 protected:
  /// A state dict of the plain tiny network as PyTorch would save it.
  Weights() : tensors_(tiny_model().weights) {
    tensors_.erase("exits.1.fc.weight");
    tensors_.erase("exits.1.fc.bias");
    tensors_["bn1.num_batches_tracked"] = HostTensor::of({}, std::vector<std::int64_t>{100});
  }

  Tensors load(bool skip_classifiers = false) {
    write_safetensors(path_, {{"format", "pt"}}, tensors_);
    return load_weights(path_, tiny_graph(), skip_classifiers);
  }
  void expect_refused(const std::string& message, bool skip_classifiers = false) {
    EXPECT_THAT([&] { load(skip_classifiers); },
                ThrowsMessage<Error>(path_.string() + ": " + message));
  }

  TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "weights.safetensors";
  Tensors tensors_;
};

TEST_F(Weights, OfAPlainNetworkLeaveItsNewExitsOut) {
  Tensors expected = tensors_;
  expected.erase("bn1.num_batches_tracked");
  EXPECT_EQ(load(), expected);
}

TEST_F(Weights, OfAModelFileLeaveItsOtherTensorsOut) {
  save_model(path_, tiny_model(), {{"optimizer.x", HostTensor::of({1}, std::vector<float>{1})}});
  EXPECT_EQ(load_weights(path_, tiny_graph()), tiny_model().weights);
}

TEST_F(Weights, OfAModelFileLeaveExitsOutThatTheNetworkLacksOnRequest) {
  save_model(path_, tiny_model());
  const Graph plain = without_exits(tiny_graph(), {0});
  const Tensors loaded = load_weights(path_, plain, true);
  EXPECT_FALSE(loaded.contains("exits.1.fc.weight"));
  EXPECT_EQ(loaded.at("fc.weight"), tiny_model().weights.at("fc.weight"));
  EXPECT_EQ(loaded.size(), tiny_model().weights.size() - 2);
  EXPECT_THAT([&] { load_weights(path_, plain); },
              ThrowsMessage<Error>(::testing::HasSubstr("has no such parameter")));
}

TEST_F(Weights, LeaveEveryClassifierOfOtherClassesOutOnRequest) {
  tensors_ = tiny_model().weights;
  for (const auto& [name, inputs] : {std::pair("fc", 4), std::pair("exits.1.fc", 2)}) {
    const std::string classifier = name;
    tensors_[classifier + ".weight"] =
        HostTensor::of({5, inputs}, std::vector<float>(5 * static_cast<std::size_t>(inputs)));
    tensors_[classifier + ".bias"] = HostTensor::of({5}, std::vector<float>(5));
  }
  const Tensors loaded = load(true);
  for (const char* name : {"fc.weight", "fc.bias", "exits.1.fc.weight", "exits.1.fc.bias"})
    EXPECT_FALSE(loaded.contains(name)) << name;
}

TEST_F(Weights, LeaveTheClassifierOutOnRequest) {
  tensors_["fc.weight"] = HostTensor::of({1000, 4}, std::vector<float>(4000));
  tensors_["fc.bias"] = HostTensor::of({1000}, std::vector<float>(1000));
  expect_refused(
      "tensor \"fc.weight\": shape differs from the graph: got [1000,4], expected [3,4]");
  const Tensors loaded = load(true);
  EXPECT_FALSE(loaded.contains("fc.weight"));
  EXPECT_FALSE(loaded.contains("fc.bias"));
  EXPECT_TRUE(loaded.contains("conv2.weight"));
}

TEST_F(Weights, InF64BecomeF32) {
  HostTensor wide{DType::f64, {4}, std::vector<std::byte>(32)};
  for (double& value : wide.as<double>()) value = 0.1;
  tensors_["conv2.bias"] = wide;
  EXPECT_EQ(load()["conv2.bias"], HostTensor::of({4}, std::vector<float>(4, 0.1f)));
  wide.as<double>()[2] = 1e300;
  tensors_["conv2.bias"] = wide;
  expect_refused("tensor \"conv2.bias\": a value is not finite: inf");
}

TEST_F(Weights, OfAnotherNetworkAreRefused) {
  tensors_["layer5.weight"] = HostTensor::of({1}, std::vector<float>{1});
  expect_refused("tensor \"layer5.weight\": the network \"tiny\" has no such parameter");
  tensors_.erase("layer5.weight");
  tensors_.erase("conv2.bias");
  expect_refused("tensor \"conv2.bias\" is missing: the weights of another network than \"tiny\"?");
}

TEST_F(Weights, OfAWrongShapeTypeOrValueAreRefused) {
  const Tensors good = tensors_;
  tensors_["conv1.weight"] = HostTensor::of({2, 1, 7, 7}, std::vector<float>(98));
  expect_refused(
      "tensor \"conv1.weight\": shape differs from the graph: got [2,1,7,7], expected [2,1,3,3]");
  tensors_ = good;
  tensors_["conv2.bias"] = HostTensor::of({4}, std::vector<std::uint8_t>(4));
  expect_refused("tensor \"conv2.bias\": got U8, expected F32 or BF16");
  tensors_ = good;
  tensors_["conv2.bias"].as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  expect_refused("tensor \"conv2.bias\": a value is not finite: nan");
}

TEST_F(Weights, FromPickleComeWithAdvice) {
  const fs::path pickle = folder_.path() / "resnet18.pth";
  for (const std::string& start : {std::string("PK\x03\x04"), std::string("\x80\x02\x8a\x0a")}) {
    std::ofstream(pickle, std::ios::binary) << start << std::string(64, '\x01');
    EXPECT_THAT([&] { load_weights(pickle, tiny_graph()); },
                ThrowsMessage<Error>(
                    pickle.string() +
                    ": a file of torch.save, not safetensors; convert it in Python with "
                    "safetensors.torch.save_file(torch.load(\"resnet18.pth\", weights_only=True), "
                    "\"resnet18.safetensors\")"));
  }
}

TEST_F(Weights, FromAMissingOrEmptyFileAreRefused) {
  EXPECT_THAT([&] { load_weights(path_, tiny_graph()); },
              ThrowsMessage<Error>(path_.string() + ": cannot open: No such file or directory"));
  tensors_.clear();
  expect_refused(
      "tensor \"conv1.weight\" is missing: the weights of another network than \"tiny\"?");
}

}  // namespace
}  // namespace offramp
