#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::byte> png(int seed) {
  return image::encode_png(test::patterned_image(8, 8, seed));
}

/// The entries of a tar with a sample for each label, whose images are drawn from `seed` on.
std::vector<test::ArchiveEntry> samples(const std::vector<std::string>& labels, int seed) {
  std::vector<test::ArchiveEntry> entries;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::string key = fmt::format("n{:03}", seed + static_cast<int>(i));
    entries.push_back({key + ".png", png(seed + static_cast<int>(i)), ""});
    entries.push_back({key + ".cls", test::bytes_of(labels[i] + "\n"), ""});
  }
  return entries;
}

TEST(LabelledTars, OfAFolderAreOneDataSetSplitByTheirNames) {
  const core::TemporaryFolder folder;
  test::write_archive(folder.path() / "train-000000.tar", samples({"10", "2"}, 0));
  test::write_archive(folder.path() / "train-000001.tar", samples({"2", "10", "2"}, 10));
  test::write_archive(folder.path() / "val-000000.tar", samples({"10", "2"}, 20));
  const LoadedData train = load_data(folder.path().string(), Part::train, {});
  EXPECT_THAT(train.dataset.classes, ElementsAre("02", "10")) << "in the order of the numbers";
  EXPECT_THAT(train.dataset.names,
              ElementsAre("train/02/train-000000/n001.png", "train/02/train-000001/n010.png",
                          "train/02/train-000001/n012.png", "train/10/train-000000/n000.png",
                          "train/10/train-000001/n011.png"));
  EXPECT_THAT(train.dataset.labels, ElementsAre(0, 0, 0, 1, 1));
  const ImagePixels third = train.dataset.image(2);
  EXPECT_TRUE(std::ranges::equal(third, test::patterned_image(8, 8, 12).rgb));
  const LoadedData test = load_data(folder.path().string(), Part::test, {});
  EXPECT_THAT(test.dataset.names,
              ElementsAre("val/02/val-000000/n021.png", "val/10/val-000000/n020.png"));
}

TEST(LabelledTars, ReadLabelsFromJsonAndTexts) {
  const core::TemporaryFolder folder;
  std::vector<test::ArchiveEntry> entries = samples({"cat", "cat"}, 0);
  for (int i = 0; i < 2; ++i) {
    entries.push_back({fmt::format("j{}.png", i), png(40 + i), ""});
    entries.push_back({fmt::format("j{}.json", i), test::bytes_of(R"({"label": "dog"})"), ""});
  }
  const fs::path path = folder.path() / "samples.tar";
  test::write_archive(path, entries);
  const LoadedData train = load_data(path.string(), Part::train, {});
  const LoadedData test = load_data(path.string(), Part::test, {});
  EXPECT_THAT(train.dataset.classes, ElementsAre("cat", "dog"));
  EXPECT_EQ(train.dataset.size() + test.dataset.size(), 4);
  EXPECT_EQ(test.dataset.size(), 2) << "one of each class, chosen by seed";
}

TEST(LabelledTars, SayWhichFileIsWrong) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "samples.tar";
  const auto failure = [&](const std::vector<test::ArchiveEntry>& entries) {
    test::write_archive(path, entries);
    return test::message_of([&] { load_data(path.string(), Part::train, {}); });
  };
  std::vector<test::ArchiveEntry> entries = samples({"1", "2"}, 0);
  entries.push_back({"x.png", png(9), ""});
  EXPECT_THAT(failure(entries), HasSubstr("samples.tar: \"x.png\" has no x.cls or x.json"));
  entries.push_back({"x.cls", test::bytes_of("../up"), ""});
  EXPECT_THAT(failure(entries),
              HasSubstr("samples.tar: \"x.cls\": class \"../up\" cannot be the name of a folder"));
  entries.back() = {"x.json", test::bytes_of("{\"label\": -1}"), ""};
  EXPECT_THAT(failure(entries), HasSubstr("\"x.json\": it has no \"cls\" or \"label\""));
}

}  // namespace
}  // namespace offramp::data
