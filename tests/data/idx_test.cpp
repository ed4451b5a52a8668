#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "core/file.h"
#include "data/sources.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using detail::load_idx;
using detail::open_archive;
using detail::open_folder;
using test::bytes_of;
using test::write_bytes;
using ::testing::ElementsAre;
using ::testing::StartsWith;

constexpr const char* kTrainImages = "train-images-idx3-ubyte";
constexpr const char* kTrainLabels = "train-labels-idx1-ubyte";
constexpr const char* kTestImages = "t10k-images-idx3-ubyte";
constexpr const char* kTestLabels = "t10k-labels-idx1-ubyte";

std::vector<std::byte> header(std::initializer_list<std::uint32_t> numbers) {
  std::vector<std::byte> bytes;
  for (const std::uint32_t number : numbers)
    for (int shift = 24; shift >= 0; shift -= 8)
      bytes.push_back(static_cast<std::byte>(number >> shift));
  return bytes;
}

/// Makes images of 2 rows and 3 columns. The first pixel of image i is 10 * (first + i); each
/// further pixel is one more than the one before it.
std::vector<std::byte> image_file(std::uint32_t count, int first) {
  auto bytes = header({0x803, count, 2, 3});
  for (int i = 0; i < static_cast<int>(count); ++i)
    for (int p = 0; p < 6; ++p) bytes.push_back(static_cast<std::byte>(10 * (first + i) + p));
  return bytes;
}

std::vector<std::byte> label_file(std::initializer_list<int> labels) {
  auto bytes = header({0x801, static_cast<std::uint32_t>(labels.size())});
  for (const int label : labels) bytes.push_back(static_cast<std::byte>(label));
  return bytes;
}

/// Three training and two test images.
std::vector<test::ArchiveEntry> small_set(const std::string& prefix = "") {
  return {{prefix + kTrainImages, image_file(3, 0), "", false},
          {prefix + kTrainLabels, label_file({7, 0, 9}), "", false},
          {prefix + kTestImages, image_file(2, 3), "", false},
          {prefix + kTestLabels, label_file({9, 2}), "", false}};
}

void write_files(const fs::path& folder, const std::vector<test::ArchiveEntry>& files) {
  for (const auto& file : files) write_bytes(folder / file.path, file.bytes);
}

std::string failure(const fs::path& folder, Part part = Part::train) {
  return test::message_of([&] { load_idx(*open_folder(folder), part); });
}

/// Returns the message of loading a data set in which one file was replaced.
std::string failure_of(const std::string& name, const std::vector<std::byte>& bytes,
                       Part part = Part::train) {
  const core::TemporaryFolder folder;
  write_files(folder.path(), small_set());
  write_bytes(folder.path() / name, bytes);
  return failure(folder.path(), part);
}

std::vector<std::byte> first_bytes(const std::vector<std::byte>& bytes, std::size_t count) {
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count)};
}

TEST(Idx, SpreadsGrayOverThreeChannelsAndNamesDigits) {
  const core::TemporaryFolder folder;
  write_files(folder.path(), small_set());
  const auto loaded = load_idx(*open_folder(folder.path()), Part::train);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->source, "IDX");
  EXPECT_EQ(loaded->sizes, (SizeRange{3, 3, 2, 2}));
  EXPECT_TRUE(loaded->skipped.empty());
  const Dataset& dataset = loaded->dataset;
  EXPECT_EQ(dataset.width, 3);
  EXPECT_EQ(dataset.height, 2);
  EXPECT_THAT(dataset.labels, ElementsAre(7, 0, 9));
  EXPECT_THAT(dataset.classes, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"));
  EXPECT_THAT(dataset.names, ElementsAre("train-images-idx3-ubyte#0", "train-images-idx3-ubyte#1",
                                         "train-images-idx3-ubyte#2"));
  for (int i = 0; i < 3; ++i) {
    const auto rgb = dataset.image(i);
    const int v = 10 * i;
    EXPECT_THAT(std::vector<int>(rgb.begin(), rgb.end()),
                ElementsAre(v, v, v, v + 1, v + 1, v + 1, v + 2, v + 2, v + 2, v + 3, v + 3, v + 3,
                            v + 4, v + 4, v + 4, v + 5, v + 5, v + 5));
    EXPECT_EQ(dataset.hashes[static_cast<std::size_t>(i)], image_hash(3, 2, rgb));
  }
}

TEST(Idx, ReadsTheTestPart) {
  const core::TemporaryFolder folder;
  write_files(folder.path(), small_set());
  const auto loaded = load_idx(*open_folder(folder.path()), Part::test);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_THAT(loaded->dataset.labels, ElementsAre(9, 2));
  EXPECT_EQ(loaded->dataset.pixels[0], 30);
  EXPECT_EQ(loaded->dataset.names[1], "t10k-images-idx3-ubyte#1");
}

TEST(Idx, ReadsGzipAndDotsInNamesAlike) {
  const core::TemporaryFolder folder;
  write_files(folder.path() / "plain", small_set());
  const LoadedData plain = load_data((folder.path() / "plain").string(), Part::train, {});
  for (auto file : small_set()) {
    write_bytes(folder.path() / "gz" / (file.path + ".gz"), test::gzip(file.bytes));
    file.path.replace(file.path.find("-idx"), 1, ".");
    write_bytes(folder.path() / "dots" / file.path, file.bytes);
    write_bytes(folder.path() / "dots-gz" / (file.path + ".gz"), test::gzip(file.bytes));
    // Some browsers decompress a .gz file but keep its name; others drop the ending .gz but do not
    // decompress.
    write_bytes(folder.path() / "unfolded" / (file.path + ".gz"), file.bytes);
    write_bytes(folder.path() / "dropped" / file.path, test::gzip(file.bytes));
  }
  for (const char* name : {"gz", "dots", "dots-gz", "unfolded", "dropped"}) {
    const LoadedData loaded = load_data((folder.path() / name).string(), Part::train, {});
    EXPECT_EQ(loaded.dataset.pixels, plain.dataset.pixels) << name;
    EXPECT_EQ(loaded.dataset.labels, plain.dataset.labels) << name;
    EXPECT_EQ(loaded.dataset.hashes, plain.dataset.hashes) << name;
  }
  EXPECT_EQ(load_data((folder.path() / "gz").string(), Part::train, {}).dataset.names,
            plain.dataset.names);
}

TEST(Idx, PrefersTheDecompressedOfTwoFiles) {
  const core::TemporaryFolder folder;
  write_files(folder.path(), small_set());
  for (const auto& file : small_set())
    write_bytes(folder.path() / (file.path + ".gz"), bytes_of("damaged"));
  EXPECT_EQ(failure(folder.path()), "no error");
}

TEST(Idx, ReadsAnArchiveAndAFolderBelow) {
  const core::TemporaryFolder folder;
  for (const char* name : {"a.tar", "a.tar.gz", "a.zip"}) {
    test::write_archive(folder.path() / name, small_set("FashionMNIST/raw/"));
    const LoadedData loaded = load_data((folder.path() / name).string(), Part::test, {});
    EXPECT_THAT(loaded.dataset.labels, ElementsAre(9, 2)) << name;
  }
  write_files(folder.path() / "root", small_set("FashionMNIST/raw/"));
  EXPECT_EQ(load_data((folder.path() / "root").string(), Part::train, {}).dataset.size(), 3);
}

TEST(Idx, ResizesToTheSizeAskedFor) {
  const core::TemporaryFolder folder;
  write_files(folder.path(), small_set());
  LoadOptions options;
  options.width = options.height = 32;
  const LoadedData loaded = load_data(folder.path().string(), Part::train, options);
  EXPECT_EQ(loaded.dataset.width, 32);
  EXPECT_EQ(loaded.sizes, (SizeRange{3, 3, 2, 2}));
  EXPECT_EQ(loaded.dataset.hashes,
            load_data(folder.path().string(), Part::train, {}).dataset.hashes);
}

TEST(Idx, TakesClassNamesFromATextFile) {
  for (const char* name : {"labels.txt", "classes.txt"}) {
    const core::TemporaryFolder folder;
    write_files(folder.path(), small_set());
    std::string text;
    for (char c = 'a'; c <= 'j'; ++c) text += std::string("a ") + c + (c == 'j' ? "" : "\r\n");
    write_bytes(folder.path() / name, bytes_of(text));
    const auto loaded = load_idx(*open_folder(folder.path()), Part::train);
    ASSERT_TRUE(loaded.has_value());
    EXPECT_THAT(loaded->dataset.classes,
                ElementsAre("a a", "a b", "a c", "a d", "a e", "a f", "a g", "a h", "a i", "a j"));
  }
}

TEST(Idx, RecognisesFashionMnistByItsLabelsAndNamesItsClasses) {
  // The files are installed by the Debian package dataset-fashion-mnist.
  const fs::path installed = "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(installed / "train-labels-idx1-ubyte.gz")) GTEST_SKIP() << "not installed";
  const LoadedData test = load_data(installed.string(), Part::test, {});
  EXPECT_EQ(test.source, "IDX (Fashion-MNIST)");
  EXPECT_THAT(test.dataset.classes,
              ElementsAre("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt",
                          "Sneaker", "Bag", "Ankle boot"));
  EXPECT_EQ(test.dataset.size(), 10000);
  EXPECT_EQ(test.dataset.width, 28);
  EXPECT_EQ(test.dataset.labels[0], 9);
  // A file of class names has precedence, and the labels are still recognised as Fashion-MNIST.
  const core::TemporaryFolder folder;
  for (const auto& entry : fs::directory_iterator(installed))
    fs::create_symlink(entry.path(), folder.path() / entry.path().filename());
  write_bytes(folder.path() / "classes.txt", bytes_of("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n"));
  const LoadedData named = load_data(folder.path().string(), Part::test, {});
  EXPECT_EQ(named.source, "IDX (Fashion-MNIST)");
  EXPECT_EQ(named.dataset.classes[9], "j");
}

TEST(Idx, RefusesInvalidClassNames) {
  const auto failure_with = [](const std::string& text) {
    return failure_of("labels.txt", bytes_of(text));
  };
  EXPECT_EQ(failure_with(""), "labels.txt: 0 class names, at least 2 are needed");
  EXPECT_EQ(failure_with("a\n"), "labels.txt: 1 class name, at least 2 are needed");
  EXPECT_EQ(failure_with("a\n\nb\n"), "labels.txt: line 2 is empty");
  EXPECT_EQ(failure_with("a\nb\na\n"), "labels.txt: line 3 repeats \"a\"");
  EXPECT_EQ(failure_with("a\nb\tc\n"), "labels.txt: line 2 has a control character");
  std::string many;
  for (int i = 0; i < 257; ++i) many += fmt::format("{}\n", i);
  EXPECT_EQ(failure_with(many), "labels.txt: more than 256 class names");
  EXPECT_EQ(failure_with("a\nb\n"),
            "train-labels-idx1-ubyte: image 0 has label 7, the largest allowed is 1");
  const core::TemporaryFolder folder;
  write_files(folder.path(), small_set());
  write_bytes(folder.path() / "labels.txt", bytes_of("a\nb\n"));
  write_bytes(folder.path() / "classes.txt", bytes_of("a\nb\n"));
  EXPECT_EQ(failure(folder.path()), "classes.txt and labels.txt both exist: remove one of them");
}

TEST(Idx, RefusesAMissingFileEvenOfThePartNotAskedFor) {
  for (const char* name : {kTrainImages, kTrainLabels, kTestImages, kTestLabels}) {
    const core::TemporaryFolder folder;
    write_files(folder.path(), small_set());
    fs::remove(folder.path() / name);
    for (const Part part : {Part::train, Part::test})
      EXPECT_EQ(failure(folder.path(), part),
                fmt::format("IDX: {} (or {}.gz) is missing", name, name));
  }
}

TEST(Idx, RefusesSeveralDataSets) {
  const core::TemporaryFolder folder;
  write_files(folder.path() / "MNIST", small_set());
  write_files(folder.path() / "KMNIST", small_set());
  EXPECT_EQ(failure(folder.path()),
            "several IDX data sets, in \"KMNIST/\" and \"MNIST/\": give the path of one of them");
  fs::remove_all(folder.path() / "MNIST");
  write_files(folder.path(), small_set());
  EXPECT_EQ(failure(folder.path()),
            "several IDX data sets, in \"KMNIST/\" and \".\": give the path of one of them");
}

TEST(Idx, RefusesAnotherMagicNumber) {
  for (const std::uint32_t magic : {0u, 0x801u, 0x804u, 0xd03u, 0x1000803u, 0x3080000u}) {
    auto bytes = image_file(3, 0);
    const auto start = header({magic});
    std::copy(start.begin(), start.end(), bytes.begin());
    EXPECT_EQ(failure_of(kTrainImages, bytes),
              fmt::format("train-images-idx3-ubyte: magic number {:08x}, expected 00000803 "
                          "(unsigned bytes in 3 dimensions)",
                          magic));
  }
  EXPECT_EQ(failure_of(kTestLabels, image_file(2, 0)),
            "t10k-labels-idx1-ubyte: magic number 00000803, expected 00000801 (unsigned bytes in "
            "1 dimension)");
}

TEST(Idx, RefusesSizesOutOfRange) {
  EXPECT_EQ(failure_of(kTrainImages, header({0x803, 0, 2, 3})),
            "train-images-idx3-ubyte: its header states 0 entries");
  EXPECT_EQ(failure_of(kTestLabels, header({0x801, 0})),
            "t10k-labels-idx1-ubyte: its header states 0 entries");
  EXPECT_EQ(failure_of(kTrainImages, header({0x803, 3, 2, 0})),
            "train-images-idx3-ubyte: images of 0x2, each side must be from 1 to 4096");
  EXPECT_EQ(failure_of(kTrainImages, header({0x803, 3, 4097, 3})),
            "train-images-idx3-ubyte: images of 3x4097, each side must be from 1 to 4096");
  EXPECT_EQ(failure_of(kTrainImages, header({0x803, 0xffffffff, 0xffffffff, 0xffffffff})),
            "train-images-idx3-ubyte: images of 4294967295x4294967295, each side must be "
            "from 1 to 4096");
  // The size computed from the header exceeds 2^32; with 32-bit arithmetic it would equal the size
  // of the file.
  EXPECT_EQ(
      failure_of(kTrainImages, header({0x803, 0x80000000, 4, 4096})),
      "train-images-idx3-ubyte: the file has 16 bytes, expected 35184372088848 from its header");
}

TEST(Idx, RefusesAFileCutOffAtAnyLength) {
  for (const auto& file : small_set()) {
    const Part part = file.path.starts_with("train") ? Part::train : Part::test;
    const auto packed = test::gzip(file.bytes);
    for (std::size_t length = 0; length < file.bytes.size(); ++length)
      EXPECT_THAT(failure_of(file.path, first_bytes(file.bytes, length), part),
                  StartsWith(fmt::format("{}: the file has {} bytes, ", file.path, length)));
    for (std::size_t length = 0; length < packed.size(); ++length)
      EXPECT_THAT(failure_of(file.path, first_bytes(packed, length), part),
                  StartsWith(file.path + ": "));
  }
}

TEST(Idx, RefusesBytesBehindTheContent) {
  for (const auto& file : small_set()) {
    const Part part = file.path.starts_with("train") ? Part::train : Part::test;
    auto longer = file.bytes;
    longer.push_back(std::byte{0});
    const std::string message =
        fmt::format("{}: the file has {} bytes, expected {} from its header", file.path,
                    longer.size(), file.bytes.size());
    EXPECT_EQ(failure_of(file.path, longer, part), message);
    EXPECT_EQ(failure_of(file.path, test::gzip(longer), part), message);
    auto packed = test::gzip(file.bytes);
    packed.push_back(std::byte{0});
    EXPECT_THAT(failure_of(file.path, packed, part), StartsWith(file.path + ": "));
  }
}

TEST(Idx, RefusesDifferentNumbersOfImagesAndLabels) {
  EXPECT_EQ(failure_of(kTrainLabels, label_file({7, 0})),
            "train-images-idx3-ubyte holds 3 images, train-labels-idx1-ubyte holds 2 labels");
  EXPECT_EQ(failure_of(kTestImages, image_file(3, 0), Part::test),
            "t10k-images-idx3-ubyte holds 3 images, t10k-labels-idx1-ubyte holds 2 labels");
}

TEST(Idx, RefusesALabelBeyondTheClassesEvenInThePartNotAskedFor) {
  EXPECT_EQ(failure_of(kTrainLabels, label_file({7, 10, 9})),
            "train-labels-idx1-ubyte: image 1 has label 10, the largest allowed is 9");
  EXPECT_EQ(failure_of(kTestLabels, label_file({9, 255})),
            "t10k-labels-idx1-ubyte: image 1 has label 255, the largest allowed is 9");
}

TEST(Idx, LeavesOtherFoldersToOtherReaders) {
  const core::TemporaryFolder folder;
  for (const char* name : {"a/train-images-idx3-ubyte.png", "b/labels.txt", "train-images.gz",
                           "._train-images-idx3-ubyte", "emnist-train-images-idx3-ubyte"})
    write_bytes(folder.path() / name, bytes_of("x"));
  EXPECT_FALSE(load_idx(*open_folder(folder.path()), Part::train).has_value());
}

TEST(Idx, SaysWhatToNameInsteadOfOneFile) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "train-images-idx3-ubyte.gz";
  write_bytes(path, test::gzip(image_file(3, 0)));
  try {
    load_data(path.string(), Part::train, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(
        error.what(),
        path.string() +
            ": this is one file of an IDX data set: give the path of the folder with all four");
  }
}

}  // namespace
}  // namespace offramp::data
