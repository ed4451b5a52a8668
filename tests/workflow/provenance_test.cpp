#include "workflow/provenance.h"
#include "tests/support/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/message_of.h"

namespace offramp::workflow {
namespace {

using test::message_of;
using testing::ElementsAre;
using testing::HasSubstr;

data::Dataset dataset() {
  data::Dataset data;
  data.height = data.width = 1;
  data.classes = {"cat", "dog"};
  data.pixels.resize(4 * 3);
  data.labels = {0, 1, 0, 1};
  data.names = {"a.png", "b.png", "c.png", "d.png"};
  data.hashes = {40, 30, 20, 10};
  return data;
}

model::ModelFile model() {
  model::ModelFile model;
  model.classes = {"cat", "dog"};
  model.provenance.data = {"somewhere", {10, 30, 50}, {20}, {40}};
  return model;
}

TEST(Provenance, AcceptsEqualClassesOnly) {
  data::Dataset data = dataset();
  EXPECT_NO_THROW(check_same_classes(model(), data));
  data.classes = {"cat", "cow"};
  EXPECT_EQ(message_of([&] { check_same_classes(model(), data); }),
            "classes differ: class 2 is \"dog\" in the model, \"cow\" in the data");
  data.classes = {"dog", "cat"};
  EXPECT_THAT(message_of([&] { check_same_classes(model(), data); }), HasSubstr("class 1"));
  data.classes = {"cat", "dog", "eel"};
  EXPECT_EQ(message_of([&] { check_same_classes(model(), data); }),
            "classes differ: 2 in the model, 3 in the data");
}

TEST(Provenance, CountsAndNamesTheImagesItWasTrainedOn) {
  EXPECT_EQ(message_of([] {
              refuse_trained_images("m.safetensors", model(), dataset(), {0, 1, 2, 3});
            }),
            "m.safetensors: the model was trained on 2 of these 4 images, the first is \"b.png\"");
  EXPECT_NO_THROW(refuse_trained_images("m", model(), dataset(), {0, 2}));
  EXPECT_THAT(without_trained_images(model(), dataset(), {0, 1, 2, 3}), ElementsAre(0, 2));
}

TEST(Provenance, FindsTheModelsOwnParts) {
  EXPECT_THAT(indices_of_listed(dataset(), model().provenance.data.tune), ElementsAre(2));
  EXPECT_THAT(indices_of_listed(dataset(), {}), ElementsAre());
}

TEST(Provenance, FindsAPartAndCountsWhatIsMissing) {
  model::ModelFile listing = model();
  listing.provenance.data.tune = {20, 60, 70};
  const auto find = [&](const std::vector<std::uint64_t>& hashes) {
    return find_listed_images("m", listing, dataset(), hashes, "tune", "data");
  };
  const ListedImages tune = find(listing.provenance.data.tune);
  EXPECT_THAT(tune.indices, ElementsAre(2));
  EXPECT_EQ(tune.missing, 2);
  EXPECT_EQ(message_of([&] { find({}); }),
            "m: the model does not list the images of its tune part");
  EXPECT_EQ(message_of([&] { find({1}); }), "data: contains no image of the model's tune part");
  EXPECT_THAT(message_of([&] { find({10, 20}); }), HasSubstr("was trained on 1 of these 2 images"));
}

TEST(Provenance, KeepsALineForEachReadOfTheTestImages) {
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  log_test_read(path, {"offramp test", "CIFAR-10", 10000});
  log_test_read(path, {"offramp \xff", "CIFAR-10", 5});
  const auto reads = test::json_lines(core::read_text(folder.path() / "test_reads.jsonl"));
  ASSERT_EQ(reads.size(), 2u);
  EXPECT_EQ(reads[0]["model"], "model.safetensors");
  EXPECT_EQ(reads[0]["data"], "CIFAR-10");
  EXPECT_EQ(reads[0]["images"], 10000);
  EXPECT_THAT(std::string(reads[0]["time"]), testing::MatchesRegex("....-..-..T..:..:..Z"));
  EXPECT_EQ(reads[1]["images"], 5);
}

}  // namespace
}  // namespace offramp::workflow
