#include "model/stored_images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "core/error.h"
#include "core/file.h"
#include "model/model_file.h"
#include "model/remove_exits.h"
#include "tests/support/models.h"

namespace offramp::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// A model with two stored images.
class StoredImagesTest : public testing::Test {
 protected:
  StoredImagesTest() {
    model = test::small_model();
    model.preprocessing.height = static_cast<int>(model.graph.input[1]);
    model.preprocessing.width = static_cast<int>(model.graph.input[2]);
    StoredImages& stored = model.stored_images;
    stored.count = 2;
    stored.pixels.resize(static_cast<std::size_t>(2 * core::element_count(model.graph.input)));
    for (std::size_t i = 0; i < stored.pixels.size(); ++i)
      stored.pixels[i] = static_cast<std::uint8_t>(i);
    for (int image = 0; image < 2; ++image)
      for (int exit = 1; exit <= 3; ++exit)
        stored.logits.insert(stored.logits.end(), static_cast<std::size_t>(model.graph.classes),
                             static_cast<float>(10 * image + exit) / 3);
  }

  void save() const { save_model(path, model); }
  /// Changes the tensors of the file and reads it.
  void expect_refused(const std::function<void(core::Tensors&)>& edit, const std::string& why) {
    save();
    core::Metadata metadata;
    core::Tensors tensors;
    {
      const core::Safetensors file = core::Safetensors::open(path);
      metadata = file.metadata();
      for (const auto& [name, view] : file.tensors()) tensors.emplace(name, view.copy());
    }
    edit(tensors);
    core::write_safetensors(path, metadata, tensors);
    EXPECT_THAT([&] { load_model(path); }, ThrowsMessage<Error>(HasSubstr(why)));
    EXPECT_THAT([&] { map_model(path); }, ThrowsMessage<Error>(HasSubstr(why)));
  }

  ModelFile model;
  core::TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "model.safetensors";
};

TEST_F(StoredImagesTest, ComeBackAsTheyWereAndAreNoExtraTensors) {
  save();
  core::Tensors extra;
  EXPECT_EQ(load_model(path, &extra).stored_images, model.stored_images);
  EXPECT_TRUE(extra.empty());
  EXPECT_EQ(map_model(path).model.stored_images, model.stored_images);
  model.stored_images = {};
  save();
  EXPECT_EQ(load_model(path).stored_images, StoredImages{});
}

TEST_F(StoredImagesTest, AreRefusedWhereTheyDoNotFitTheModel) {
  const std::string pixels = "tensor \"certificate.images\"",
                    logits = "tensor \"certificate.logits\"";
  expect_refused([](auto& all) { all.erase(std::string(kStoredLogitsTensor)); },
                 logits + " is missing");
  expect_refused([](auto& all) { all.erase(std::string(kStoredPixelsTensor)); },
                 pixels + " is missing");
  expect_refused(
      [](auto& all) {
        all.find(kStoredLogitsTensor)->second.shape = {2, 1, 30};
      },
      logits + ": got F32 [2,1,30], expected F32 [2,3,10]");
  expect_refused(
      [](auto& all) {
        core::HostTensor& tensor = all.find(kStoredPixelsTensor)->second;
        tensor.shape = {1, tensor.count()};
      },
      pixels + ": got U8 [1,");
  expect_refused([](auto& all) { all.find(kStoredPixelsTensor)->second.dtype = core::DType::i8; },
                 pixels + ": got I8");
  expect_refused(
      [](auto& all) {
        all.find(kStoredLogitsTensor)->second.template as<float>()[7] =
            std::numeric_limits<float>::infinity();
      },
      logits + ": a logit is not a finite number");
  expect_refused(
      [](auto& all) {
        all.find(kStoredPixelsTensor)->second =
            core::HostTensor::of({0}, std::span<const std::uint8_t>());
      },
      pixels + ": got 0 images, expected 1 to 1024");
}

TEST_F(StoredImagesTest, AreNotWrittenWhereTheyCouldNotBeRead) {
  const auto refused = [&](const std::string& why) {
    EXPECT_THAT([&] { save(); }, ThrowsMessage<Error>(HasSubstr(why)));
  };
  model.stored_images.count = 1;
  refused("certificate.images\": got ");
  model.stored_images.count = 2;
  model.stored_images.logits.pop_back();
  refused("certificate.logits\": got 59 logits, expected [2,3,10]");
  model.stored_images.count = 0;
  refused("got 0 images, expected 1 to 1024");
}

TEST_F(StoredImagesTest, KeepTheLogitsOfTheExitsThatStay) {
  const ModelFile left = remove_exits(model, {1});
  EXPECT_EQ(left.stored_images.pixels, model.stored_images.pixels);
  const std::vector<float>& logits = left.stored_images.logits;
  ASSERT_EQ(logits.size(), 40u);
  EXPECT_THAT((std::vector<float>{logits[0], logits[10], logits[20], logits[30]}),
              ElementsAre(1.0f / 3, 3.0f / 3, 11.0f / 3, 13.0f / 3));
  save_model(path, left);
  EXPECT_EQ(load_model(path).stored_images, left.stored_images);
}

}  // namespace
}  // namespace offramp::model
