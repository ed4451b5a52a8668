#include "eval/logits_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"

namespace offramp::eval {
namespace {

using ::testing::ThrowsMessage;

SavedLogits example() {
  SavedLogits saved;
  saved.exits = 2;
  saved.classes = 3;
  saved.logits = {1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6};
  saved.labels = {2, 0};
  saved.hashes = {7, ~0ull};
  saved.metadata = {{"model", "model.safetensors"}};
  return saved;
}

TEST(LogitsFile, GivesBackWhatWasSaved) {
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "logits.safetensors";
  save_logits(path, example());
  const SavedLogits loaded = load_logits(path);
  EXPECT_EQ(loaded.exits, 2);
  EXPECT_EQ(loaded.classes, 3);
  EXPECT_EQ(loaded.logits, example().logits);
  EXPECT_EQ(loaded.labels, example().labels);
  EXPECT_EQ(loaded.hashes, example().hashes);
  EXPECT_EQ(loaded.metadata, example().metadata);
  EXPECT_EQ(loaded.view().at(1, 0)[2], -3);
}

TEST(LogitsFile, HasTheLayoutOtherProgramsRead) {
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "logits.safetensors";
  save_logits(path, example());
  const core::Safetensors file = core::Safetensors::open(path);
  EXPECT_EQ(file.at("logits").shape, (std::vector<std::int64_t>{2, 2, 3}));
  EXPECT_EQ(file.at("logits").dtype, core::DType::f32);
  EXPECT_EQ(file.at("labels").shape, (std::vector<std::int64_t>{2}));
  EXPECT_EQ(file.at("labels").dtype, core::DType::i64);
  EXPECT_EQ(file.at("hashes").shape, (std::vector<std::int64_t>{2}));
  EXPECT_EQ(file.at("hashes").dtype, core::DType::u64);
}

TEST(LogitsFile, ReadsAFileWithoutHashes) {
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "logits.safetensors";
  SavedLogits old = example();
  old.hashes.clear();
  save_logits(path, old);
  EXPECT_EQ(load_logits(path).hashes, old.hashes);
}

TEST(LogitsFile, RefusesInvalidFiles) {
  const core::TemporaryFolder folder;
  const std::string path = (folder.path() / "logits.safetensors").string();
  const auto logits = core::HostTensor::of({1, 2, 2}, std::vector<float>{1, 2, 3, 4});
  const auto labels = core::HostTensor::of({2}, std::vector<std::int64_t>{0, 1});
  const auto expect_refused = [&](const core::Tensors& tensors, const std::string& message) {
    core::write_safetensors(path, {}, tensors);
    EXPECT_THAT([&] { load_logits(path); }, ThrowsMessage<Error>(path + ": " + message));
  };
  expect_refused({{"labels", labels}}, "tensor \"logits\" is missing");
  expect_refused({{"logits", logits}}, "tensor \"labels\" is missing");
  expect_refused({{"logits", labels}, {"labels", labels}},
                 "tensor \"logits\": got I64, expected F32");
  expect_refused({{"logits", core::HostTensor::of({4}, std::vector<float>(4))}, {"labels", labels}},
                 "tensor \"logits\": got shape [4], expected 3 dimensions");
  expect_refused({{"logits", logits}, {"labels", core::HostTensor::of({1}, std::vector<float>(1))}},
                 "tensor \"labels\": got F32, expected I64");
  expect_refused(
      {{"logits", logits}, {"labels", core::HostTensor::of({3}, std::vector<std::int64_t>(3))}},
      "got 3 labels, but logits of 2 images");
  expect_refused({{"logits", logits},
                  {"labels", labels},
                  {"hashes", core::HostTensor::of({1}, std::vector<std::uint64_t>{1})}},
                 "got 1 hashes, but logits of 2 images");
  expect_refused(
      {{"logits", core::HostTensor::of({0, 2, 2}, std::vector<float>{})}, {"labels", labels}},
      "tensor \"logits\": 0 exits");
  expect_refused(
      {{"logits", core::HostTensor::of({2, 2, 0}, std::vector<float>{})}, {"labels", labels}},
      "tensor \"logits\": 0 classes");
}

}  // namespace
}  // namespace offramp::eval
