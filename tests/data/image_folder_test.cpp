#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "tests/support/image_files.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using test::bytes_of;
using test::encode_jpeg;
using test::flat_image;
using test::patterned_image;
using test::stored_image;
using test::write_bytes;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

LoadedData load(const fs::path& path, Part part, const LoadOptions& options = {}) {
  return load_data(path.string(), part, options);
}

/// Returns the error message of loading, without the path at its start.
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

/// Returns "name: reason" for each skipped image.
std::vector<std::string> lines(const std::vector<SkippedImage>& skipped) {
  std::vector<std::string> result;
  for (const SkippedImage& image : skipped) result.push_back(image.name + ": " + image.reason);
  return result;
}

/// Writes two classes, each with training images 0 and 1 and test image 2.
void write_split_folder(const fs::path& root) {
  int seed = 0;
  for (const char* name : {"cat", "dog"}) {
    for (const char* file : {"train/{}/a.png", "train/{}/b.png", "test/{}/c.png"}) {
      write_bytes(root / fmt::format(fmt::runtime(file), name),
                  image::encode_png(patterned_image(8, 6, ++seed)));
    }
  }
}

TEST(ImageFolder, ReadsBothPartsWithClassesInAlphabeticalOrder) {
  const core::TemporaryFolder folder;
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
    const image::Image image = patterned_image(8, 6, i < 2 ? i + 1 : i + 2);
    const auto rgb = train.dataset.image(i);
    EXPECT_EQ(std::vector<std::uint8_t>(rgb.begin(), rgb.end()), image.rgb);
    EXPECT_EQ(train.dataset.hashes[static_cast<std::size_t>(i)], image_hash(8, 6, image.rgb));
  }
  const LoadedData test = load(folder.path(), Part::test);
  EXPECT_THAT(test.dataset.names, ElementsAre("test/cat/c.png", "test/dog/c.png"));
}

TEST(ImageFolder, LooksInsideOneTopFolderAndIntoFoldersOfAClass) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path() / "download/animals");
  write_bytes(folder.path() / "download/animals/train/cat/more/z.png",
              image::encode_png(patterned_image(8, 6, 50)));
  EXPECT_THAT(load(folder.path(), Part::train).dataset.names,
              ElementsAre("train/cat/a.png", "train/cat/b.png", "train/cat/more/z.png",
                          "train/dog/a.png", "train/dog/b.png"));
}

TEST(ImageFolder, IgnoresWhatIsHiddenOrNoImage) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  for (const char* name : {"README.md", "train/Thumbs.db", "train/cat/.hidden.jpg",
                           "train/cat/labels.csv", ".git/x/y.jpg", "__MACOSX/train/cat/._a.png"}) {
    write_bytes(folder.path() / name, bytes_of("not an image"));
  }
  const LoadedData train = load(folder.path(), Part::train);
  EXPECT_EQ(train.dataset.size(), 4);
  EXPECT_TRUE(train.skipped.empty());
}

TEST(ImageFolder, AcceptsFileEndingsInAnyCase) {
  const core::TemporaryFolder folder;
  write_bytes(folder.path() / "Train/cat/a.JPG", encode_jpeg(flat_image(8, 8, 1, 2, 3)));
  write_bytes(folder.path() / "Train/dog/a.Jpeg", encode_jpeg(flat_image(8, 8, 1, 2, 3)));
  write_bytes(folder.path() / "TEST/cat/a.PNG", image::encode_png(flat_image(8, 8, 1, 2, 3)));
  // A JPEG whose name ends in .png is decoded as a JPEG.
  write_bytes(folder.path() / "TEST/dog/a.png", encode_jpeg(flat_image(8, 8, 1, 2, 3)));
  EXPECT_EQ(load(folder.path(), Part::train).dataset.size(), 2);
  EXPECT_EQ(load(folder.path(), Part::test).dataset.size(), 2);
}

TEST(ImageFolder, ReadsWebpAndBmp) {
  const core::TemporaryFolder folder;
  const auto webp = stored_image("lossless.webp");
  const auto bmp = stored_image("rgb24.bmp");
  write_bytes(folder.path() / "train/cat/a.webp", webp);
  write_bytes(folder.path() / "train/dog/a.bmp", bmp);
  write_bytes(folder.path() / "test/cat/a.bmp", bmp);
  write_bytes(folder.path() / "test/dog/a.webp", webp);
  const Dataset loaded = load(folder.path(), Part::train).dataset;
  ASSERT_EQ(loaded.size(), 2);
  const image::Image golden = image::decode_image(stored_image("rgb24.bmp.png"));
  for (const std::int64_t i : {0, 1})
    EXPECT_TRUE(std::ranges::equal(loaded.image(i), golden.rgb))
        << loaded.names[static_cast<std::size_t>(i)];
}

TEST(ImageFolder, LeavesOutDamagedImagesAndNamesThem) {
  const core::TemporaryFolder folder;
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
  EXPECT_EQ(train.skipped[1].reason, "not a JPEG, PNG, WebP or BMP: no bytes");
  EXPECT_EQ(train.skipped[2].name, "train/dog/link.png");
  EXPECT_EQ(train.skipped[2].reason, "a broken link");
  EXPECT_EQ(train.skipped[3].reason, "not a JPEG, PNG, WebP or BMP");
}

TEST(ImageFolder, NamesImagesThatLieBesideTheClassFolders) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  write_bytes(folder.path() / "train/stray.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  const LoadedData train = load(folder.path(), Part::train);
  ASSERT_EQ(train.skipped.size(), 1);
  EXPECT_EQ(train.skipped[0].name, "train/stray.png");
  EXPECT_EQ(train.skipped[0].reason, "not in a class folder");
  EXPECT_TRUE(load(folder.path(), Part::test).skipped.empty());
}

TEST(ImageFolder, NamesImagesAndFoldersBesideTrainAndTestOnce) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  write_bytes(folder.path() / "preview.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  for (const char* name : {"val/cat/a.png", "val/dog/a.png", "extra/a.png"}) {
    write_bytes(folder.path() / name, image::encode_png(flat_image(8, 6, 0, 0, 0)));
  }
  fs::create_directories(folder.path() / "empty");
  const LoadedData train = load(folder.path(), Part::train);
  EXPECT_EQ(train.dataset.size(), 4);
  EXPECT_THAT(lines(train.skipped), ElementsAre("preview.png: not in a class folder",
                                                "extra: 1 image not in train or test",
                                                "val: 2 images not in train or test"));
  EXPECT_TRUE(load(folder.path(), Part::test).skipped.empty());
}

TEST(ImageFolder, FindsADataSetInAFolderWithAnImageBesideIt) {
  for (const char* stray : {"preview.png", "set/preview.png"}) {
    const core::TemporaryFolder folder;
    write_split_folder(folder.path() / "set");
    write_bytes(folder.path() / stray, image::encode_png(flat_image(8, 6, 0, 0, 0)));
    const LoadedData train = load(folder.path(), Part::train);
    EXPECT_THAT(train.dataset.names, ElementsAre("train/cat/a.png", "train/cat/b.png",
                                                 "train/dog/a.png", "train/dog/b.png"));
    EXPECT_THAT(lines(train.skipped), ElementsAre("preview.png: not in a class folder"));
  }
}

TEST(ImageFolder, FindsClassFoldersInAFolderWithAnImageBesideThem) {
  for (const char* stray : {"preview.png", "set/preview.png"}) {
    const core::TemporaryFolder folder;
    write_split_folder(folder.path() / "all");
    fs::create_directories(folder.path() / "set");
    fs::rename(folder.path() / "all/train/cat", folder.path() / "set/cat");
    fs::rename(folder.path() / "all/train/dog", folder.path() / "set/dog");
    fs::remove_all(folder.path() / "all");
    write_bytes(folder.path() / stray, image::encode_png(flat_image(8, 6, 0, 0, 0)));
    const LoadedData train = load(folder.path(), Part::train);
    EXPECT_THAT(train.dataset.classes, ElementsAre("cat", "dog"));
    EXPECT_EQ(train.dataset.size(), 2);
    EXPECT_THAT(lines(train.skipped), ElementsAre("preview.png: not in a class folder"));
    EXPECT_TRUE(load(folder.path(), Part::test).skipped.empty());
  }
}

TEST(ImageFolder, TakesAClassWithAFolderOfItsOwnForOneClass) {
  const core::TemporaryFolder folder;
  write_bytes(folder.path() / "cat/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  write_bytes(folder.path() / "cat/more/b.png", image::encode_png(flat_image(8, 6, 1, 1, 1)));
  EXPECT_EQ(failure(folder.path()), "there is only one class, \"cat\": at least 2 are needed");
}

TEST(ImageFolder, AsksForASizeWhenImagesDiffer) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  write_bytes(folder.path() / "train/dog/large.png",
              image::encode_png(flat_image(30, 20, 9, 9, 9)));
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
  const image::Image expected = image::resize(patterned_image(8, 6, 1), 10, 5, core::Fit::squeeze);
  EXPECT_EQ(std::vector<std::uint8_t>(rgb.begin(), rgb.end()), expected.rgb);
  // The hash of an image does not depend on the size to which it is resized.
  EXPECT_EQ(train.dataset.hashes[0], image_hash(8, 6, patterned_image(8, 6, 1).rgb));
}

TEST(ImageFolder, ReadsImagesSoLargeThatTheyAreDecodedOneAtATime) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  const std::vector<std::uint8_t> gray(std::size_t{4200} * 4000, 128);
  const auto jpeg = encode_jpeg(4200, 4000, gray, {.colour = test::JpegColour::gray});
  write_bytes(folder.path() / "train/cat/large.jpg", jpeg);
  write_bytes(folder.path() / "train/dog/large.jpg", jpeg);
  LoadOptions options;
  options.width = options.height = 8;
  const LoadedData train = load(folder.path(), Part::train, options);
  EXPECT_TRUE(train.skipped.empty());
  ASSERT_EQ(train.dataset.size(), 6);
  EXPECT_EQ(train.sizes, (SizeRange{8, 4200, 6, 4000}));
  const ImagePixels large = train.dataset.image(2);
  EXPECT_THAT(std::vector(large.begin(), large.end()), Each(128));
}

/// While this object exists, limits the memory that the process may map in addition to what it has.
class MemoryLimit {
 public:
  explicit MemoryLimit(rlim_t more_bytes) {
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    EXPECT_EQ(getrlimit(RLIMIT_AS, &before_), 0);
    rlimit limit = before_;
    limit.rlim_cur = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + more_bytes;
    EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;
  ~MemoryLimit() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
};

/// Returns a JPEG whose header states another size than it has.
std::vector<std::byte> jpeg_claiming(unsigned width, unsigned height) {
  const std::vector<std::uint8_t> ink(std::size_t{8} * 8 * 4, 100);
  auto jpeg = encode_jpeg(8, 8, ink, {.colour = test::JpegColour::cmyk});
  constexpr std::array kStartOfFrame = {std::byte{0xff}, std::byte{0xc0}};
  const auto frame =
      std::search(jpeg.begin(), jpeg.end(), kStartOfFrame.begin(), kStartOfFrame.end());
  const auto put = [&](std::ptrdiff_t place, unsigned value) {
    frame[place] = static_cast<std::byte>(value >> 8);
    frame[place + 1] = static_cast<std::byte>(value & 0xff);
  };
  put(5, height);
  put(7, width);
  return jpeg;
}

TEST(ImageFolder, LeavesOutAnImageThatMemoryIsTooSmallFor) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer ends the program when memory is refused";
#endif
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  auto huge = jpeg_claiming(11585, 11585);  // 512 MiB
  huge.resize(1'000'000);                   // as long as a file with so many pixels may be
  write_bytes(folder.path() / "train/cat/huge.jpg", huge);
  const MemoryLimit limit(rlim_t{400} << 20);
  const LoadedData train = load(folder.path(), Part::train);
  EXPECT_EQ(train.dataset.size(), 4);
  EXPECT_THAT(lines(train.skipped), ElementsAre("train/cat/huge.jpg: out of memory"));
}

TEST(ImageFolder, SaysWhyAFileCannotBeReadWithoutRepeatingItsPath) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  const fs::path path = folder.path() / "train/cat/endless.png";
  write_bytes(path, bytes_of("x"));
  fs::resize_file(path, std::uintmax_t{1} << 29);
  EXPECT_THAT(lines(load(folder.path(), Part::train).skipped),
              ElementsAre("train/cat/endless.png: larger than the 268435456 bytes allowed"));
}

TEST(ImageFolder, EscapesNamesInMessages) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  write_bytes(folder.path() / "train/wo\x1b[2Jlf/a.png",
              image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()), "class \"wo\\x1b[2Jlf\" is in train but not in test");
}

TEST(ImageFolder, RefusesClassesThatDifferBetweenTheParts) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  write_bytes(folder.path() / "train/wolf/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path(), Part::train), "class \"wolf\" is in train but not in test");
  write_bytes(folder.path() / "test/fox/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  fs::remove_all(folder.path() / "train/wolf");
  EXPECT_EQ(failure(folder.path(), Part::train), "class \"fox\" is in test but not in train");
}

TEST(ImageFolder, RefusesAnEmptyClass) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  fs::create_directories(folder.path() / "train/wolf");
  fs::create_directories(folder.path() / "test/wolf");
  EXPECT_EQ(failure(folder.path()), "class \"wolf\" holds no JPEG, PNG, WebP or BMP in train");
  write_bytes(folder.path() / "train/wolf/bad.png", bytes_of("x"));
  write_bytes(folder.path() / "test/wolf/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(
      failure(folder.path()),
      "class \"wolf\": no image can be read; \"train/wolf/bad.png\": not a JPEG, PNG, WebP or BMP");
}

TEST(ImageFolder, RefusesFoldersWithoutData) {
  const core::TemporaryFolder folder;
  EXPECT_THAT(failure(folder.path()), HasSubstr("no JPEG, PNG, WebP or BMP images"));
  write_bytes(folder.path() / "loose/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()), "there is only one class, \"loose\": at least 2 are needed");
  write_bytes(folder.path() / "other/a.png", image::encode_png(flat_image(8, 6, 9, 9, 9)));
  EXPECT_EQ(failure(folder.path()),
            "class \"loose\" has too few different images to split off a test part");
  EXPECT_EQ(failure(folder.path() / "nothing"), "no such file or folder");
}

TEST(ImageFolder, RefusesATrainFolderWithoutATestFolder) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  fs::rename(folder.path() / "test", folder.path() / "extra");
  EXPECT_EQ(failure(folder.path()), "there is no folder \"test\"; found: \"extra\", \"train\"");
}

TEST(ImageFolder, TakesAFolderOfValidationImagesForTheTestPartWhereThereIsNoTestFolder) {
  for (const char* name : {"val", "Val", "valid", "validation"}) {
    const core::TemporaryFolder folder;
    write_split_folder(folder.path() / "set");
    const auto expected = load(folder.path() / "set", Part::test).dataset;
    fs::rename(folder.path() / "set/test", folder.path() / "set" / name);
    for (const fs::path& path : {folder.path(), folder.path() / "set"}) {
      const LoadedData train = load(path, Part::train);
      EXPECT_EQ(train.dataset.size(), 4) << name;
      EXPECT_TRUE(train.skipped.empty()) << name;
      const LoadedData test = load(path, Part::test);
      EXPECT_EQ(test.dataset.hashes, expected.hashes) << name;
      EXPECT_THAT(test.dataset.names[0], StartsWith(std::string(name) + "/")) << name;
    }
  }
}

TEST(ImageFolder, CallsAFolderOfValidationImagesByItsNameInErrors) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  fs::rename(folder.path() / "test", folder.path() / "val");
  write_bytes(folder.path() / "extra/cat/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_THAT(lines(load(folder.path(), Part::train).skipped),
              ElementsAre("extra: 1 image not in train or val"));
  write_bytes(folder.path() / "train/wolf/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()), "class \"wolf\" is in train but not in val");
  fs::create_directories(folder.path() / "val/wolf");
  EXPECT_EQ(failure(folder.path()), "class \"wolf\" holds no JPEG, PNG, WebP or BMP in val");
  write_bytes(folder.path() / "val/fox/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()), "class \"fox\" is in val but not in train");
}

TEST(ImageFolder, SplitsAFolderOfValidationImagesThatStandsAlone) {
  // "val" is a part only if there is a folder "train"; alone it is a folder that contains a data
  // set.
  const core::TemporaryFolder folder;
  for (int i = 0; i < 12; ++i)
    write_bytes(folder.path() / fmt::format("val/{}/{}.png", i % 2 == 0 ? "cat" : "dog", i),
                image::encode_png(patterned_image(8, 6, i)));
  EXPECT_EQ(load(folder.path(), Part::train).dataset.size(), 10);
  EXPECT_EQ(load(folder.path(), Part::test).dataset.size(), 2);
}

TEST(ImageFolder, ReadsTestImagesThatStandAlone) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  const auto all = load_data(folder.path().string(), Part::test, {}).dataset;
  fs::remove_all(folder.path() / "train");
  const auto alone = load_data(folder.path().string(), Part::test, {}).dataset;
  EXPECT_EQ(alone.hashes, all.hashes);
  EXPECT_EQ(alone.names, all.names);
  EXPECT_EQ(failure(folder.path()), "there is no folder \"train\"; found: \"test\"");
}

TEST(ImageFolder, RefusesPartsWithoutClassFolders) {
  const core::TemporaryFolder folder;
  write_bytes(folder.path() / "train/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  write_bytes(folder.path() / "test/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()),
            "train and test hold images but no class folders: put the images of each class into "
            "train/<class>/ and test/<class>/");
}

TEST(ImageFolder, SaysWhereTheImagesOfAFlatFolderBelong) {
  const core::TemporaryFolder folder;
  write_bytes(folder.path() / "a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  EXPECT_EQ(failure(folder.path()),
            "there are images but no class folders: put the images of each class into "
            "train/<class>/ and test/<class>/, or into <class>/ alone");
}

TEST(ImageFolder, FollowsLinksButNotInCircles) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path() / "real");
  fs::create_directories(folder.path() / "set/train/dog");
  fs::create_directory_symlink(folder.path() / "real/train/cat", folder.path() / "set/train/cat");
  fs::create_directory_symlink(folder.path() / "real/test", folder.path() / "set/test");
  fs::create_symlink(folder.path() / "real/train/dog/a.png", folder.path() / "set/train/dog/a.png");
  fs::create_directory_symlink(folder.path() / "set", folder.path() / "set/train/dog/circle");
  EXPECT_THAT(load(folder.path() / "set", Part::train).dataset.names,
              ElementsAre("train/cat/a.png", "train/cat/b.png", "train/dog/a.png"));
}

TEST(ImageFolder, DoesNotMultiplyFoldersThatLinkToEachOther) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path() / "set");
  // Each folder has two links to the next one, so the last has 2^40 paths.
  constexpr int kSteps = 40;
  for (int i = 0; i < kSteps; ++i) fs::create_directories(folder.path() / fmt::format("step{}", i));
  for (int i = 0; i + 1 < kSteps; ++i)
    for (const char* name : {"a", "b"})
      fs::create_directory_symlink(folder.path() / fmt::format("step{}", i + 1),
                                   folder.path() / fmt::format("step{}", i) / name);
  fs::create_directory_symlink(folder.path() / "step0", folder.path() / "set/train/dog/steps");
  const LoadedData loaded = load(folder.path() / "set", Part::train);
  EXPECT_EQ(loaded.dataset.size(), 4);
  ASSERT_FALSE(loaded.skipped.empty());
  EXPECT_EQ(loaded.skipped[0].reason, "links lead to this folder on more than 16 paths");
}

TEST(ImageFolder, SaysTheSizesOfThePartAskedFor) {
  const core::TemporaryFolder folder;
  for (int i = 0; i < 4; ++i) {
    write_bytes(folder.path() / fmt::format("{}/{}.png", i % 2 == 0 ? "cat" : "dog", i),
                image::encode_png(patterned_image(10 + i, 8, i)));
  }
  LoadOptions options;
  options.width = options.height = 8;
  const LoadedData train = load(folder.path(), Part::train, options);
  const LoadedData test = load(folder.path(), Part::test, options);
  ASSERT_EQ(train.dataset.size(), 2);
  ASSERT_EQ(test.dataset.size(), 2);
  // No two images have the same width.
  EXPECT_NE(train.sizes, test.sizes);
}

/// Makes more nested folders than are listed.
fs::path deep_path(int depth = 70) {
  fs::path path;
  for (int i = 0; i < depth; ++i) path /= "d";
  return path;
}

TEST(ImageFolder, NamesAFolderThatCannotBeListedAndReadsTheOthers) {
  const core::TemporaryFolder folder;
  fs::create_directories(folder.path() / "extra" / deep_path());
  EXPECT_THAT(failure(folder.path()), AllOf(StartsWith("no JPEG, PNG, WebP or BMP images"),
                                            EndsWith("folders are nested too deeply")));
  write_split_folder(folder.path());
  const LoadedData train = load(folder.path(), Part::train);
  EXPECT_EQ(train.dataset.size(), 4);
  ASSERT_EQ(train.skipped.size(), 1);
  EXPECT_THAT(train.skipped[0].name, StartsWith("extra/d/d/d"));
  EXPECT_EQ(train.skipped[0].reason, "folders are nested too deeply");
  EXPECT_TRUE(load(folder.path(), Part::test).skipped.empty());
}

TEST(ImageFolder, RefusesATestFolderThatCannotBeListed) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  fs::create_directories(folder.path() / deep_path(63) / "test");
  EXPECT_THAT(failure(folder.path()), EndsWith(": folders are nested too deeply"));
}

TEST(ImageFolder, DoesNotLookIntoHiddenFolders) {
  const core::TemporaryFolder folder;
  write_split_folder(folder.path());
  fs::create_directories(folder.path() / ".Trash-0" / deep_path());
  fs::create_directories(folder.path() / "train/cat/.thumbnails" / deep_path());
  const LoadedData train = load(folder.path(), Part::train);
  EXPECT_EQ(train.dataset.size(), 4);
  EXPECT_TRUE(train.skipped.empty());
}

TEST(ImageFolder, DoesNotTakeAFolderWithoutPermissionForAClass) {
  if (geteuid() == 0) GTEST_SKIP() << "permissions do not bind root";
  const core::TemporaryFolder folder;
  write_bytes(folder.path() / "cat/a.png", image::encode_png(flat_image(8, 6, 0, 0, 0)));
  write_bytes(folder.path() / "cat/b.png", image::encode_png(flat_image(8, 6, 1, 1, 1)));
  write_bytes(folder.path() / "dog/a.png", image::encode_png(flat_image(8, 6, 2, 2, 2)));
  write_bytes(folder.path() / "dog/b.png", image::encode_png(flat_image(8, 6, 3, 3, 3)));
  const fs::path locked = folder.path() / "lost+found";
  fs::create_directories(locked);
  fs::permissions(locked, fs::perms::none);
  const LoadedData train = load(folder.path(), Part::train);
  EXPECT_THAT(train.dataset.classes, ElementsAre("cat", "dog"));
  EXPECT_THAT(lines(train.skipped), ElementsAre("lost+found: cannot list: Permission denied"));
  fs::permissions(locked, fs::perms::owner_all);  // so that it can be removed
}

class UnsplitFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 30; ++i) {
      write_bytes(folder_.path() / fmt::format("cat/{:02}.png", i),
                  image::encode_png(patterned_image(8, 8, i)));
      if (i < 13) {
        write_bytes(folder_.path() / fmt::format("train/{:02}.png", i),  // a class of this name
                    image::encode_png(patterned_image(8, 8, 100 + i)));
      }
    }
  }
  std::set<std::uint64_t> hashes(Part part, std::uint64_t seed = 1) const {
    LoadOptions options;
    options.seed = seed;
    const Dataset dataset = load(folder_.path(), part, options).dataset;
    return {dataset.hashes.begin(), dataset.hashes.end()};
  }
  void expect_no_image_in_both_parts(std::uint64_t seed = 1) const {
    const auto train = hashes(Part::train, seed);
    for (const std::uint64_t hash : hashes(Part::test, seed)) EXPECT_FALSE(train.contains(hash));
  }
  core::TemporaryFolder folder_;
};

TEST_F(UnsplitFolder, GivesASixthOfEachClassToTheTestPart) {
  const Dataset train = load(folder_.path(), Part::train).dataset;
  const Dataset test = load(folder_.path(), Part::test).dataset;
  EXPECT_THAT(train.classes, ElementsAre("cat", "train"));
  EXPECT_EQ(std::count(test.labels.begin(), test.labels.end(), 0), 5);
  EXPECT_EQ(std::count(test.labels.begin(), test.labels.end(), 1), 2);
  EXPECT_EQ(train.size() + test.size(), 43);
  expect_no_image_in_both_parts();
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
  expect_no_image_in_both_parts();
}

TEST_F(UnsplitFolder, KeepsEqualPixelsInOnePartWhateverTheFile) {
  for (int i = 0; i < 30; ++i) {
    test::PngFile file;
    file.width = file.height = 8;
    file.colour_type = 2;  // RGB
    file.interlaced = true;
    file.rows = patterned_image(8, 8, i).rgb;
    write_bytes(folder_.path() / fmt::format("cat/again {}.png", i), encode(file));
  }
  EXPECT_EQ(hashes(Part::train).size() + hashes(Part::test).size(), 43);
  expect_no_image_in_both_parts();
}

TEST_F(UnsplitFolder, KeepsAnImageOfTwoClassesInOnePart) {
  for (int i = 0; i < 5; ++i) {
    fs::copy_file(folder_.path() / fmt::format("train/{:02}.png", i),
                  folder_.path() / fmt::format("cat/also {}.png", i));
  }
  // Each class chooses its test part separately, so for some of many seeds a wrong implementation
  // would put copies into different parts.
  for (std::uint64_t seed = 1; seed <= 20; ++seed) expect_no_image_in_both_parts(seed);
}

TEST_F(UnsplitFolder, PassesOverAnImageOfMoreCopiesThanTheTestPartHolds) {
  for (int i = 0; i < 100; ++i) {
    fs::copy_file(folder_.path() / "train/00.png",
                  folder_.path() / fmt::format("train/copy {}.png", i));
  }
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    EXPECT_FALSE(
        hashes(Part::test, seed).contains(image_hash(8, 8, patterned_image(8, 8, 100).rgb)));
  }
}

TEST_F(UnsplitFolder, LeavesDamagedFilesOutOfTheDraw) {
  const auto before = hashes(Part::test);
  write_bytes(folder_.path() / "cat/empty 1.png", {});
  write_bytes(folder_.path() / "cat/empty 2.png", {});
  write_bytes(folder_.path() / "cat/text.png", bytes_of("x"));
  fs::create_symlink("nowhere.png", folder_.path() / "cat/link.png");
  EXPECT_EQ(hashes(Part::test), before);
  EXPECT_EQ(lines(load(folder_.path(), Part::train).skipped).size(), 4);
  EXPECT_TRUE(load(folder_.path(), Part::test).skipped.empty());
}

TEST_F(UnsplitFolder, RefusesAClassOfDamagedFiles) {
  write_bytes(folder_.path() / "dog/a.png", bytes_of("x"));
  for (const Part part : {Part::train, Part::test}) {
    EXPECT_EQ(failure(folder_.path(), part),
              "class \"dog\": no image can be read; \"dog/a.png\": not a JPEG, PNG, WebP or BMP");
  }
}

TEST_F(UnsplitFolder, NamesAnImageBesideTheClassFoldersOnce) {
  write_bytes(folder_.path() / "stray.png", image::encode_png(flat_image(8, 8, 0, 0, 0)));
  EXPECT_THAT(lines(load(folder_.path(), Part::train).skipped),
              ElementsAre("stray.png: not in a class folder"));
  EXPECT_TRUE(load(folder_.path(), Part::test).skipped.empty());
}

}  // namespace
}  // namespace offramp::data
