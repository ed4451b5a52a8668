#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "tests/support/image_files.h"

namespace offramp {
namespace {

namespace fs = std::filesystem;
using test::bytes_of;
using test::encode_jpeg;
using test::flat_image;
using test::patterned_image;
using test::write_bytes;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

LoadedData load(const fs::path& path, Part part, const LoadOptions& options = {}) {
  return load_data(path.string(), part, options);
}

/// What loading says, without the path it begins with.
std::string failure(const fs::path& path, Part part = Part::train,
                    const LoadOptions& options = {}) {
  try {
    load(path, part, options);
  } catch (const Error& error) {
    const std::string message = error.what();
    const std::string place = path.string() + ": ";
    EXPECT_TRUE(message.starts_with(place)) << message;
    return message.substr(std::min(message.size(), place.size()));
  }
  return "no error";
}

/// Two classes: training images 0 and 1 of each, test image 2.
void write_split_folder(const fs::path& root) {
  int seed = 0;
  for (const char* name : {"cat", "dog"}) {
    for (const char* file : {"train/{}/a.png", "train/{}/b.png", "test/{}/c.png"}) {
      write_bytes(root / fmt::format(fmt::runtime(file), name),
                  encode_png(patterned_image(8, 6, ++seed)));
    }
  }
}

TEST(ImageFolder, ReadsBothPartsWithClassesInAlphabeticalOrder) {
  const TemporaryFolder folder;
  write_split_folder(folder.path());
  const LoadedData train = load(folder.path(), Part::train);
  EXPECT_EQ(train.source, "image folder");
  EXPECT_EQ(train.dataset.width, 8);
  EXPECT_EQ(train.dataset.height, 6);
  EXPECT_THAT(train.dataset.classes, ElementsAre("cat", "dog"));
  EXPECT_THAT(train.dataset.labels, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(train.dataset.names, ElementsAre("train/cat/a.png", "train/cat/b.png",
                                               "train/dog/a.png", "train/dog/b.png"));
  for (int i = 0; i < 4; ++i) {
    const Image image = patterned_image(8, 6, i < 2 ? i + 1 : i + 2);
    const auto rgb = train.dataset.image(i);
    EXPECT_EQ(std::vector<std::uint8_t>(rgb.begin(), rgb.end()), image.rgb);
    EXPECT_EQ(train.dataset.hashes[static_cast<std::size_t>(i)], image_hash(8, 6, image.rgb));
  }
  const LoadedData test = load(folder.path(), Part::test);
  EXPECT_THAT(test.dataset.names, ElementsAre("test/cat/c.png", "test/dog/c.png"));
}

TEST(ImageFolder, LooksInsideOneTopFolderAndIntoFoldersOfAClass) {
  const TemporaryFolder folder;
  write_split_folder(folder.path() / "download/animals");
  write_bytes(folder.path() / "download/animals/train/cat/more/z.png",
              encode_png(patterned_image(8, 6, 50)));
  EXPECT_THAT(load(folder.path(), Part::train).dataset.names,
              ElementsAre("train/cat/a.png", "train/cat/b.png", "train/cat/more/z.png",
                          "train/dog/a.png", "train/dog/b.png"));
}

TEST(ImageFolder, IgnoresWhatIsHiddenOrNoImage) {
  const TemporaryFolder folder;
  write_split_folder(folder.path());
  for (const char* name : {"README.md", "train/Thumbs.db", "train/cat/.hidden.jpg",
                           "train/cat/labels.csv", ".git/x/y.jpg", "__MACOSX/train/cat/._a.png"}) {
    write_bytes(folder.path() / name, bytes_of("not an image"));
  }
  const LoadedData train = load(folder.path(), Part::train);
  EXPECT_EQ(train.dataset.size(), 4);
  EXPECT_TRUE(train.skipped.empty());
}

TEST(ImageFolder, KnowsItsEndingsInAnyCase) {
  const TemporaryFolder folder;
  write_bytes(folder.path() / "Train/cat/a.JPG", encode_jpeg(flat_image(8, 8, 1, 2, 3)));
  write_bytes(folder.path() / "Train/dog/a.Jpeg", encode_jpeg(flat_image(8, 8, 1, 2, 3)));
  write_bytes(folder.path() / "TEST/cat/a.PNG", encode_png(flat_image(8, 8, 1, 2, 3)));
  // A JPEG under a PNG's name is read for what it is.
  write_bytes(folder.path() / "TEST/dog/a.png", encode_jpeg(flat_image(8, 8, 1, 2, 3)));
  EXPECT_EQ(load(folder.path(), Part::train).dataset.size(), 2);
  EXPECT_EQ(load(folder.path(), Part::test).dataset.size(), 2);
}

TEST(ImageFolder, LeavesOutDamagedImagesAndNamesThem) {
  const TemporaryFolder folder;
  write_split_folder(folder.path());
  auto jpeg = encode_jpeg(patterned_image(8, 6, 40));
  jpeg.resize(jpeg.size() - 20);
  write_bytes(folder.path() / "train/cat/aa.jpg", jpeg);
  write_bytes(folder.path() / "train/cat/empty.png", {});
  write_bytes(folder.path() / "train/dog/text.png", bytes_of("hello"));
  fs::create_symlink("nowhere.png", folder.path() / "train/dog/link.png");
  const LoadedData train = load(folder.path(), Part::train);
  ASSERT_EQ(train.dataset.size(), 4);
  EXPECT_THAT(train.dataset.names, ElementsAre("train/cat/a.png", "train/cat/b.png",
                                               "train/dog/a.png", "train/dog/b.png"));
  const auto rgb = train.dataset.image(3);
  EXPECT_EQ(std::vector<std::uint8_t>(rgb.begin(), rgb.end()), patterned_image(8, 6, 5).rgb);
  EXPECT_EQ(train.dataset.hashes[3], image_hash(8, 6, rgb));
  ASSERT_EQ(train.skipped.size(), 4);
  EXPECT_EQ(train.skipped[0].name, "train/cat/aa.jpg");
  EXPECT_THAT(train.skipped[0].reason, HasSubstr("truncated"));
  EXPECT_EQ(train.skipped[1].name, "train/cat/empty.png");
  EXPECT_EQ(train.skipped[1].reason, "not a JPEG or PNG: no bytes");
  EXPECT_EQ(train.skipped[2].name, "train/dog/link.png");
  EXPECT_EQ(train.skipped[2].reason, "a link that leads nowhere");
  EXPECT_EQ(train.skipped[3].reason, "not a JPEG or PNG");
}

TEST(ImageFolder, NamesImagesThatLieBesideTheClassFolders) {
  const TemporaryFolder folder;
  write_split_folder(folder.path());
  write_bytes(folder.path() / "train/stray.png", encode_png(flat_image(8, 6, 0, 0, 0)));
  const LoadedData train = load(folder.path(), Part::train);
  ASSERT_EQ(train.skipped.size(), 1);
  EXPECT_EQ(train.skipped[0].name, "train/stray.png");
  EXPECT_EQ(train.skipped[0].reason, "not in a class folder");
  EXPECT_TRUE(load(folder.path(), Part::test).skipped.empty());
}

TEST(ImageFolder, AsksForASizeWhenImagesDiffer) {
  const TemporaryFolder folder;
  write_split_folder(folder.path());
  write_bytes(folder.path() / "train/dog/large.png", encode_png(flat_image(30, 20, 9, 9, 9)));
  EXPECT_THAT(failure(folder.path()), EndsWith("choose one with --image-size"));
  EXPECT_THROW(load(folder.path(), Part::train), UsageError);
  LoadOptions options;
  options.width = 10;
  options.height = 5;
  const LoadedData train = load(folder.path(), Part::train, options);
  EXPECT_EQ(train.dataset.size(), 5);
  EXPECT_EQ(train.dataset.width, 10);
  EXPECT_EQ(train.dataset.height, 5);
  EXPECT_EQ(train.sizes, (SizeRange{8, 30, 6, 20}));
  const auto rgb = train.dataset.image(0);
  const Image expected = resize(patterned_image(8, 6, 1), 10, 5, Fit::squeeze);
  EXPECT_EQ(std::vector<std::uint8_t>(rgb.begin(), rgb.end()), expected.rgb);
  // The identity of an image does not depend on the size it is loaded at.
  EXPECT_EQ(train.dataset.hashes[0], image_hash(8, 6, patterned_image(8, 6, 1).rgb));
}

TEST(ImageFolder, RefusesClassesThatDifferBetweenTheParts) {
  const TemporaryFolder folder;
  write_split_folder(folder.path());
  write_bytes(folder.path() / "train/wolf/a.png", encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path(), Part::train), "class \"wolf\" is in train, not in test");
  write_bytes(folder.path() / "test/fox/a.png", encode_png(flat_image(8, 6, 0, 0, 0)));
  fs::remove_all(folder.path() / "train/wolf");
  EXPECT_EQ(failure(folder.path(), Part::train), "class \"fox\" is in test, not in train");
}

TEST(ImageFolder, RefusesAnEmptyClass) {
  const TemporaryFolder folder;
  write_split_folder(folder.path());
  fs::create_directories(folder.path() / "train/wolf");
  fs::create_directories(folder.path() / "test/wolf");
  EXPECT_EQ(failure(folder.path()), "class \"wolf\" holds no JPEG or PNG in train");
  write_bytes(folder.path() / "train/wolf/bad.png", bytes_of("x"));
  write_bytes(folder.path() / "test/wolf/a.png", encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()),
            "class \"wolf\": no image can be read; train/wolf/bad.png: not a JPEG or PNG");
}

TEST(ImageFolder, RefusesFoldersWithoutData) {
  const TemporaryFolder folder;
  EXPECT_THAT(failure(folder.path()), HasSubstr("no JPEG or PNG images"));
  write_bytes(folder.path() / "loose/a.png", encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()), "one class only, \"loose\": at least two are needed");
  write_bytes(folder.path() / "other/a.png", bytes_of("x"));
  fs::remove(folder.path() / "loose/a.png");
  write_bytes(folder.path() / "loose/a.png", bytes_of("x"));
  EXPECT_THAT(failure(folder.path()), HasSubstr("too few different images"));
  EXPECT_EQ(failure(folder.path() / "nothing"), "no such file or folder");
}

TEST(ImageFolder, RefusesATrainFolderWithoutATestFolder) {
  const TemporaryFolder folder;
  write_split_folder(folder.path());
  fs::rename(folder.path() / "test", folder.path() / "val");
  EXPECT_EQ(failure(folder.path()), "no folder \"test\" beside: train, val");
}

TEST(ImageFolder, RefusesPartsWithoutClassFolders) {
  const TemporaryFolder folder;
  write_bytes(folder.path() / "train/a.png", encode_png(flat_image(8, 6, 0, 0, 0)));
  write_bytes(folder.path() / "test/a.png", encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()), "train and test hold images but no class folders");
}

TEST(ImageFolder, FollowsLinksButNotInCircles) {
  const TemporaryFolder folder;
  write_split_folder(folder.path() / "real");
  fs::create_directories(folder.path() / "set/train/dog");
  fs::create_directory_symlink(folder.path() / "real/train/cat", folder.path() / "set/train/cat");
  fs::create_directory_symlink(folder.path() / "real/test", folder.path() / "set/test");
  fs::create_symlink(folder.path() / "real/train/dog/a.png", folder.path() / "set/train/dog/a.png");
  fs::create_directory_symlink(folder.path() / "set", folder.path() / "set/train/dog/circle");
  EXPECT_THAT(load(folder.path() / "set", Part::train).dataset.names,
              ElementsAre("train/cat/a.png", "train/cat/b.png", "train/dog/a.png"));
}

class UnsplitFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 30; ++i) {
      write_bytes(folder_.path() / fmt::format("cat/{:02}.png", i),
                  encode_png(patterned_image(8, 8, i)));
      if (i < 13) {
        write_bytes(folder_.path() / fmt::format("train/{:02}.png", i),  // a class of this name
                    encode_png(patterned_image(8, 8, 100 + i)));
      }
    }
  }
  std::set<std::uint64_t> hashes(Part part, std::uint64_t seed = 1) const {
    LoadOptions options;
    options.seed = seed;
    const Dataset dataset = load(folder_.path(), part, options).dataset;
    return {dataset.hashes.begin(), dataset.hashes.end()};
  }
  TemporaryFolder folder_;
};

TEST_F(UnsplitFolder, GivesASixthOfEachClassToTheTestPart) {
  const Dataset train = load(folder_.path(), Part::train).dataset;
  const Dataset test = load(folder_.path(), Part::test).dataset;
  EXPECT_THAT(train.classes, ElementsAre("cat", "train"));
  EXPECT_EQ(std::count(test.labels.begin(), test.labels.end(), 0), 5);
  EXPECT_EQ(std::count(test.labels.begin(), test.labels.end(), 1), 2);
  EXPECT_EQ(train.size() + test.size(), 43);
  for (const std::uint64_t hash : hashes(Part::test)) {
    EXPECT_FALSE(hashes(Part::train).contains(hash));
  }
}

TEST_F(UnsplitFolder, IsSplitBySeedAndContentNotByName) {
  const auto before = hashes(Part::test);
  EXPECT_NE(hashes(Part::test, 2), before);
  for (int i = 0; i < 30; ++i) {
    fs::rename(folder_.path() / fmt::format("cat/{:02}.png", i),
               folder_.path() / fmt::format("cat/renamed {}.png", 99 - i));
  }
  EXPECT_EQ(hashes(Part::test), before);
}

TEST_F(UnsplitFolder, KeepsCopiesOfAFileInOnePart) {
  for (int i = 0; i < 30; ++i) {
    fs::copy_file(folder_.path() / fmt::format("cat/{:02}.png", i),
                  folder_.path() / fmt::format("cat/copy {}.png", i));
  }
  for (const std::uint64_t hash : hashes(Part::test)) {
    EXPECT_FALSE(hashes(Part::train).contains(hash));
  }
}

}  // namespace
}  // namespace offramp
