#include "workflow/data_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using testing::ThrowsMessage;

TEST(DataSet, CountsTheImagesOfEveryClass) {
  const DataSummary summary =
      summarise_data("synthetic:1:3", {.synthetic_train = 30, .synthetic_test = 9});
  EXPECT_TRUE(summary.one_size);
  ASSERT_EQ(summary.classes.size(), 3u);
  std::int64_t train = 0, test = 0;
  for (const ClassCount& one : summary.classes) {
    train += one.train;
    test += one.test;
  }
  EXPECT_EQ(train, 30);
  EXPECT_EQ(test, 9);
}

TEST(DataSet, ExportsImagesThatLoadAgain) {
  const core::TemporaryFolder folder;
  ExportOptions options;
  options.source = "synthetic:1:3";
  options.load = {.synthetic_train = 30, .synthetic_test = 9};
  options.folder = folder.path() / "images";
  options.per_class = 2;
  const ExportResult exported = export_images(options);
  EXPECT_EQ(exported.images, 6);
  EXPECT_EQ(exported.classes, 3u);
  // PNG is lossless, so the images of the folder equal those of the source.
  const auto hashes =
      data::load_data(options.source, data::Part::test, options.load).dataset.hashes;
  const data::LoadedData back = data::load_data(options.folder, data::Part::train, {});
  EXPECT_GT(back.dataset.size(), 0);
  for (const std::uint64_t hash : back.dataset.hashes)
    EXPECT_NE(std::ranges::find(hashes, hash), hashes.end());

  // Classes whose names have a slash, as one of Fashion-MNIST's has.
  DataParts parts = {data::load_data(options.source, data::Part::train, options.load),
                     data::load_data(options.source, data::Part::test, options.load)};
  parts.train.dataset.classes[1] = parts.test.dataset.classes[1] = "T-shirt/top";
  options.source = folder.path() / "named.pack";
  data::write_packed(options.source, parts.train, parts.test);
  options.folder = folder.path() / "named";
  EXPECT_EQ(export_images(options).classes, 3u);
  EXPECT_TRUE(fs::is_directory(options.folder / "T-shirt%2Ftop"));
  EXPECT_THAT(data::load_data(options.folder, data::Part::train, {}).dataset.classes,
              testing::UnorderedElementsAreArray(parts.train.dataset.classes));

  options.corruption = "contrast:9";
  EXPECT_THAT([&] { export_images(options); },
              testing::Throws<UsageError>(
                  testing::Property(&UsageError::what, testing::StartsWith("corruption: "))));
}

TEST(DataSet, IsNotImportedOverItself) {
  const core::TemporaryFolder folder;
  const fs::path packed = folder.path() / "images.pack";
  import_data("synthetic:1:3", {.synthetic_train = 30, .synthetic_test = 9}, packed);
  const std::string before = core::read_text(packed);
  EXPECT_THAT(
      [&] { import_data(packed, {}, packed); },
      ThrowsMessage<UsageError>("output: " + packed.string() +
                                " is an input, so it cannot be the output; choose another file"));
  EXPECT_EQ(core::read_text(packed), before);
}

}  // namespace
}  // namespace offramp::workflow
