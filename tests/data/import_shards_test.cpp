#include "data/import_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ImportShards : public testing::Test {
 protected:
  ImportShards() {
    for (const char* part : {"train", "test"})
      for (const char* name : {"a", "b"})
        for (int i = 0; i < 5; ++i) add(fmt::format("{}/{}/{}.png", part, name, i), 8, ++seed_);
    options_.images_per_shard = 6;  // 20 images are 4 shards
    options_.progress = [this](std::int64_t done, std::int64_t total) {
      done_.push_back(done);
      EXPECT_EQ(total, 20);
    };
  }

  void add(const std::string& name, int side, int seed) {
    fs::create_directories((source_ / name).parent_path());
    test::write_bytes(source_ / name, image::encode_png(test::patterned_image(side, side, seed)));
  }
  ImportedShards import() { return import_shards(source_.string(), shards_, options_); }
  std::string failure() {
    return test::message_of([&] { import(); });
  }

  core::TemporaryFolder folder_;
  fs::path source_ = folder_.path() / "images", shards_ = folder_.path() / "packed";
  ShardOptions options_;
  std::vector<std::int64_t> done_;
  int seed_ = 0;
};

TEST_F(ImportShards, GivesTheImagesOfTheFolder) {
  test::write_bytes(source_ / "train/a/7.png", test::bytes_of("broken"));
  options_.progress = {};
  const ImportedShards result = import();
  EXPECT_EQ(result.train, 10);
  EXPECT_EQ(result.test, 10);
  EXPECT_EQ(result.skipped, 1);
  EXPECT_EQ(result.shards, 4);
  for (const Part part : {Part::train, Part::test}) {
    const LoadedData expected = load_data(source_.string(), part, {});
    const LoadedData packed = load_data(shards_.string(), part, {});
    EXPECT_EQ(packed.dataset.names, expected.dataset.names);
    EXPECT_EQ(packed.dataset.labels, expected.dataset.labels);
    EXPECT_EQ(packed.dataset.hashes, expected.dataset.hashes);
    EXPECT_EQ(copy_pixels(packed.dataset), expected.dataset.pixels);
    EXPECT_EQ(packed.skipped.size(), expected.skipped.size());
  }
}

TEST_F(ImportShards, ContinuesAnInterruptedImportAndReportsProgress) {
  options_.progress = [](std::int64_t done, std::int64_t) {
    if (done == 10) throw Error("killed");
  };
  EXPECT_EQ(failure(), source_.string() + ": killed");
  const fs::path first = shards_ / "packed-00000-of-00004.offramp";
  const auto written = fs::last_write_time(first);
  options_.progress = [this](std::int64_t done, std::int64_t) { done_.push_back(done); };
  EXPECT_EQ(import().kept, 2);
  EXPECT_EQ(fs::last_write_time(first), written);
  EXPECT_THAT(done_, ElementsAre(4, 10, 14, 20));
  EXPECT_EQ(import().kept, 4);
  add("train/a/0.png", 8, 99);  // another file of the same name, and of another size
  fs::resize_file(source_ / "train/a/1.png", 20);
  EXPECT_LT(import().kept, 4);
}

void expect_equal_images(const LoadedData& packed, const LoadedData& expected) {
  EXPECT_EQ(packed.dataset.names, expected.dataset.names);
  EXPECT_EQ(packed.dataset.labels, expected.dataset.labels);
  EXPECT_EQ(packed.dataset.hashes, expected.dataset.hashes);
  EXPECT_EQ(packed.sizes, expected.sizes);
  EXPECT_EQ(copy_pixels(packed.dataset), copy_pixels(expected.dataset));
}

TEST_F(ImportShards, KeepsTheFilesOfImages) {
  add("train/b/wide.png", 12, 40);
  test::write_bytes(source_ / "train/a/7.png", test::bytes_of("broken"));
  options_.load = {.height = 6, .width = 4};
  options_.keep_files = true;
  options_.progress = {};
  EXPECT_EQ(import().kept, 0);
  for (const Part part : {Part::train, Part::test}) {
    EXPECT_TRUE(load_data(shards_.string(), part, {}).dataset.stored->decodes());
    // Size and way are those of the use, made from the whole image.
    for (const core::Fit fit : {core::Fit::squeeze, core::Fit::crop}) {
      expect_equal_images(load_data(shards_.string(), part, {.fit = fit}),
                          load_data(source_.string(), part, {.height = 6, .width = 4, .fit = fit}));
      expect_equal_images(load_data(shards_.string(), part, {.height = 5, .width = 9, .fit = fit}),
                          load_data(source_.string(), part, {.height = 5, .width = 9, .fit = fit}));
    }
  }
  EXPECT_EQ(load_data(shards_.string(), Part::train, {}).skipped.size(), 1u);
  EXPECT_EQ(import().kept, 4);
  options_.load.fit = core::Fit::crop;
  EXPECT_THAT(failure(), HasSubstr("are resized when they are loaded"));
  options_.load.fit = core::Fit::squeeze;
  options_.keep_files = false;
  EXPECT_EQ(import().kept, 0);
  EXPECT_FALSE(load_data(shards_.string(), Part::train, {}).dataset.stored->decodes());
}

TEST_F(ImportShards, NamesAnImageFileThatWasDamagedLater) {
  options_.progress = {};
  options_.keep_files = true;
  options_.images_per_shard = 100;
  import();
  const fs::path path = shards_ / "packed-00000-of-00001.offramp";
  std::string bytes = core::read_text(path);
  const std::string signature = "\x89PNG";
  for (std::size_t at = bytes.find(signature); at != std::string::npos;
       at = bytes.find(signature, at + 1))
    bytes[at] = 'x';
  test::write_bytes(path, test::bytes_of(bytes));
  const LoadedData data = load_data(shards_.string(), Part::train, {});
  EXPECT_EQ(
      test::message_of([&] { data.dataset.image(3); }),
      "image 3, counted from 0 over all shards: not a JPEG, PNG, WebP or BMP; import the data "
      "again");
}

TEST_F(ImportShards, SaysWhatItCannotImport) {
  add("train/b/9.png", 9, 1);
  options_.progress = {};
  EXPECT_THAT(failure(), HasSubstr("images differ in size"));
  options_.load.width = options_.load.height = 4;
  EXPECT_EQ(failure(), "no error");
  options_.images_per_shard = 7;
  EXPECT_THAT(failure(), HasSubstr("which is not a shard of this import; choose another folder"));
  shards_ = folder_.path() / "more";
  for (int i = 0; i < 5; ++i)
    test::write_bytes(source_ / fmt::format("test/b/{}.png", i), test::bytes_of("broken"));
  EXPECT_THAT(failure(), HasSubstr("class \"b\": no image can be read in test"));
  fs::remove_all(source_ / "test");
  EXPECT_THAT(failure(), HasSubstr("images: "));
}

}  // namespace
}  // namespace offramp::data
