#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/file.h"
#include "data/dataset.h"
#include "image/image.h"
#include "tests/cli/program.h"
#include "tests/support/image_files.h"

namespace offramp::cli {
namespace {

namespace fs = std::filesystem;
using test::patterned_image;
using test::ProgramResult;
using test::write_bytes;
using ::testing::HasSubstr;

/// A folder with two classes, each with three training images and one test image; the second class
/// also has a damaged image.
void write_images(const fs::path& root) {
  int seed = 0;
  for (const char* name : {"cat", "dog"}) {
    for (const char* file : {"train/{}/a.png", "train/{}/b.png", "train/{}/c.png", "test/{}/a.png"})
      write_bytes(root / fmt::format(fmt::runtime(file), name),
                  image::encode_png(patterned_image(8, 6, ++seed)));
  }
  write_bytes(root / "train/dog/bad.jpg", test::bytes_of("no image"));
}

TEST(DataImport, WritesAPackedFileThatSaysTheSame) {
  const core::TemporaryFolder folder;
  write_images(folder.path() / "images");
  const std::string packed = folder.path() / "images.offramp";
  const ProgramResult ended =
      test::offramp({"data", "import", folder.path() / "images", "-o", packed});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_EQ(ended.out, packed + ": 6 training and 2 test images of 2 classes, 8x6, 1 skipped\n");
  EXPECT_EQ(ended.err, "  train/dog/bad.jpg: not a JPEG, PNG, WebP or BMP\n");
  for (const data::Part part : {data::Part::train, data::Part::test}) {
    EXPECT_EQ(copy_pixels(data::load_data(packed, part, {}).dataset),
              copy_pixels(data::load_data((folder.path() / "images").string(), part, {}).dataset));
  }
}

TEST(DataExport, CorruptsImages) {
  const core::TemporaryFolder folder;
  write_images(folder.path() / "images");
  const std::string source = folder.path() / "images", spoiled = folder.path() / "spoiled";
  const ProgramResult ended = test::offramp(
      {"data", "export", source, "--out", spoiled + "/test", "--corrupt", "contrast:5"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  const data::Dataset before = data::load_data(source, data::Part::test, {}).dataset;
  const data::Dataset after = data::load_data(spoiled, data::Part::test, {}).dataset;
  ASSERT_EQ(after.labels, before.labels);
  EXPECT_NE(after.pixels, before.pixels);

  for (const char* wrong : {"contrast:6", "fog:1"}) {
    const ProgramResult refused =
        test::offramp({"data", "export", source, "--out", spoiled, "--corrupt", wrong});
    EXPECT_EQ(refused.status, 2);
    EXPECT_TRUE(test::is_one_line(refused.err)) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("--corrupt: "));
  }
}

TEST(DataExport, DoesNotOverwriteTheImagesItReads) {
  const core::TemporaryFolder folder;
  const fs::path source = folder.path() / "images", image = source / "test/cat/00000.png";
  write_images(source);
  write_bytes(image, image::encode_png(patterned_image(8, 6, 99)));
  const std::string before = core::read_text(image);
  const ProgramResult refused = test::offramp(
      {"data", "export", source, "--out", source / "test", "--corrupt", "contrast:5"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_TRUE(test::is_one_line(refused.err)) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("--out: " + image.string() + " is an input"));
  EXPECT_EQ(core::read_text(image), before);
}

TEST(DataImport, ResizesImagesToTheRequestedSize) {
  const core::TemporaryFolder folder;
  write_images(folder.path() / "images");
  write_bytes(folder.path() / "images/train/cat/large.png",
              image::encode_png(patterned_image(40, 30, 9)));
  const std::string packed = folder.path() / "images.offramp";
  const std::string source = folder.path() / "images";
  const ProgramResult refused = test::offramp({"data", "import", source, "-o", packed});
  EXPECT_EQ(refused.status, 2);
  EXPECT_TRUE(test::is_one_line(refused.err)) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("choose one with --image-size"));
  EXPECT_FALSE(fs::exists(packed));
  EXPECT_EQ(test::offramp(
                {"data", "import", source, "-o", packed, "--image-size", "10x5", "--fit", "crop"})
                .status,
            0);
  const data::Dataset dataset = data::load_data(packed, data::Part::train, {}).dataset;
  EXPECT_EQ(dataset.width, 10);
  EXPECT_EQ(dataset.height, 5);
  const auto rgb = dataset.image(0);
  EXPECT_EQ(std::vector<std::uint8_t>(rgb.begin(), rgb.end()),
            image::resize(patterned_image(8, 6, 1), 10, 5, core::Fit::crop).rgb);
}

TEST(DataImport, IsNotWrittenOverItsSource) {
  const core::TemporaryFolder folder;
  write_images(folder.path() / "images");
  const std::string packed = folder.path() / "images.pack";
  ASSERT_EQ(test::offramp({"data", "import", folder.path() / "images", "-o", packed}).status, 0);
  const std::string before = core::read_text(packed);
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"data", "import", packed, "-o", packed},
        std::vector<std::string>{"data", "info", packed, "--contact-sheet", packed}}) {
    const ProgramResult refused = test::offramp(arguments);
    EXPECT_EQ(refused.status, 2);
    EXPECT_THAT(
        refused.err,
        HasSubstr(packed + " is an input, so it cannot be the output; choose another file"));
    EXPECT_THAT(refused.err, HasSubstr("offramp: --"));
    EXPECT_TRUE(test::is_one_line(refused.err)) << refused.err;
  }
  EXPECT_EQ(core::read_text(packed), before);
}

TEST(DataInfo, PrintsCountsSizesStatisticsAndSkippedFiles) {
  const core::TemporaryFolder folder;
  write_images(folder.path());
  const ProgramResult ended = test::offramp({"data", "info", folder.path()});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("images   6 training, 2 test\n"));
  EXPECT_THAT(ended.out, HasSubstr("stored   width 8, height 6\n"));
  EXPECT_THAT(ended.out, HasSubstr("loaded   8x6\n"));
  EXPECT_THAT(ended.out,
              HasSubstr("skipped  1 images\n  train/dog/bad.jpg: not a JPEG, PNG, WebP or BMP\n"));
}

TEST(DataInfo, GivesTheSameAsJson) {
  const core::TemporaryFolder folder;
  write_images(folder.path());
  const ProgramResult ended = test::offramp({"data", "info", folder.path(), "--json"});
  ASSERT_EQ(ended.status, 0) << ended.err;
  const auto json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["source"], "image folder");
  EXPECT_EQ(json["width"], 8);
  EXPECT_EQ(json["height"], 6);
  EXPECT_EQ(json["classes"][1], (nlohmann::json{{"class", "dog"}, {"train", 3}, {"test", 1}}));
  EXPECT_EQ(json["train"]["images"], 6);
  EXPECT_EQ(json["train"]["skipped"][0]["name"], "train/dog/bad.jpg");
  EXPECT_EQ(json["train"]["skipped"][0]["reason"], "not a JPEG, PNG, WebP or BMP");
  EXPECT_TRUE(json["test"]["skipped"].empty());
  double sum = 0;
  for (const int seed : {1, 2, 3, 5, 6, 7}) {
    const image::Image image = patterned_image(8, 6, seed);
    for (std::size_t i = 0; i < image.rgb.size(); i += 3) sum += image.rgb[i];
  }
  EXPECT_NEAR(json["mean"][0].get<double>(), sum / (6 * 48) / 255, 1e-6);
}

TEST(DataInfo, DescribesFoldersWhoseImagesDifferInSize) {
  const core::TemporaryFolder folder;
  write_images(folder.path());
  write_bytes(folder.path() / "train/cat/large.png", image::encode_png(patterned_image(40, 30, 9)));
  const ProgramResult text = test::offramp({"data", "info", folder.path()});
  EXPECT_THAT(text.out, HasSubstr("stored   width 8 to 40, height 6 to 30\n"));
  EXPECT_THAT(text.out, HasSubstr("sizes differ: training needs --image-size\n"));
  const auto json =
      nlohmann::json::parse(test::offramp({"data", "info", folder.path(), "--json"}).out);
  EXPECT_TRUE(json["width"].is_null());
  EXPECT_EQ(json["train"]["max_width"], 40);
}

TEST(DataInfo, NamesTwentySkippedFilesAndCountsTheRest) {
  const core::TemporaryFolder folder;
  write_images(folder.path());
  for (int i = 0; i < 22; ++i) {
    write_bytes(folder.path() / fmt::format("train/cat/bad {:02}.png", i), test::bytes_of("x"));
  }
  const std::string out = test::offramp({"data", "info", folder.path()}).out;
  EXPECT_THAT(out, HasSubstr("skipped  23 images\n"));
  EXPECT_THAT(out, HasSubstr("bad 19.png: not a JPEG, PNG, WebP or BMP\n  and 3 more\n"));
  EXPECT_EQ(out.find("bad 20.png"), std::string::npos);
}

TEST(DataInfo, DrawsAContactSheet) {
  const core::TemporaryFolder folder;
  write_images(folder.path() / "images");
  const std::string sheet = folder.path() / "sheet.png";
  const ProgramResult ended =
      test::offramp({"data", "info", folder.path() / "images", "--contact-sheet", sheet});
  EXPECT_EQ(ended.status, 0) << ended.err;
  const image::Image image = image::decode_image(core::read_file(sheet));
  EXPECT_GT(image.width, 12 * 64);
}

TEST(DataInfo, RefusesAnInvalidSize) {
  for (const char* size : {"0", "-3", "32y", "32x", "x32", "70000", "1x2x3", ""}) {
    const ProgramResult ended = test::offramp({"data", "info", "synthetic", "--image-size", size});
    EXPECT_EQ(ended.status, 2) << size;
    EXPECT_TRUE(test::is_one_line(ended.err)) << ended.err;
  }
}

}  // namespace
}  // namespace offramp::cli
