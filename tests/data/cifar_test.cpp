#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "data/sources.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using detail::load_cifar;
using detail::open_archive;
using detail::open_folder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::size_t kPlane = 1024;

/// Makes `count` records. The first pixel of record i is (first + i, 100, 200); all other pixels
/// are (1, 2, 3).
std::vector<std::byte> batch(int count, int first, int label_bytes, int classes) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < count; ++i) {
    // CIFAR-100 stores the coarse label first; 77 is out of its range.
    for (int b = 1; b < label_bytes; ++b) bytes.push_back(std::byte(77));
    bytes.push_back(static_cast<std::byte>((first + i) % classes));
    const std::array<int, 3> start = {first + i, 100, 200};
    for (std::size_t c = 0; c < 3; ++c) {
      bytes.push_back(static_cast<std::byte>(start[c]));
      bytes.insert(bytes.end(), kPlane - 1, static_cast<std::byte>(c + 1));
    }
  }
  return bytes;
}

std::vector<test::ArchiveEntry> cifar10_files(int per_file, const std::string& prefix) {
  std::vector<test::ArchiveEntry> files;
  for (int b = 1; b <= 5; ++b) {
    files.push_back({fmt::format("{}data_batch_{}.bin", prefix, b),
                     batch(per_file, (b - 1) * per_file, 1, 10), "", false});
  }
  files.push_back({prefix + "test_batch.bin", batch(per_file, 50, 1, 10), "", false});
  files.push_back({prefix + "batches.meta.txt", test::bytes_of("airplane\n"), "", false});
  return files;
}

void write_files(const fs::path& folder, const std::vector<test::ArchiveEntry>& files) {
  for (const auto& file : files) test::write_bytes(folder / file.path, file.bytes);
}

std::string failure(const fs::path& folder, std::int64_t per_file = 2) {
  return test::message_of([&] { load_cifar(*open_folder(folder), Part::train, per_file); });
}

TEST(Cifar, TurnsPlanesIntoPixelsAndKeepsTheOrderOfBatches) {
  const core::TemporaryFolder folder;
  write_files(folder.path(), cifar10_files(2, "cifar-10-batches-bin/"));
  const auto loaded = load_cifar(*open_folder(folder.path()), Part::train, 2);
  ASSERT_TRUE(loaded.has_value());
  const Dataset& dataset = loaded->dataset;
  EXPECT_EQ(loaded->source, "CIFAR-10 (binary)");
  EXPECT_EQ(dataset.width, 32);
  EXPECT_EQ(dataset.height, 32);
  EXPECT_THAT(dataset.labels, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_THAT(dataset.classes, ElementsAre("airplane", "automobile", "bird", "cat", "deer", "dog",
                                           "frog", "horse", "ship", "truck"));
  EXPECT_EQ(dataset.names[7], "data_batch_4.bin#1");
  for (int i = 0; i < 10; ++i) {
    const auto rgb = dataset.image(i);
    EXPECT_THAT(std::vector<int>(rgb.begin(), rgb.begin() + 6), ElementsAre(i, 100, 200, 1, 2, 3));
    EXPECT_EQ(dataset.hashes[static_cast<std::size_t>(i)], image_hash(32, 32, rgb));
  }
}

TEST(Cifar, ReadsTheTestBatchFromAnArchiveUnderAnyFolder) {
  const core::TemporaryFolder folder;
  for (const char* prefix : {"", "./", "some/other folder/"}) {
    test::write_archive(folder.path() / "c.tar.gz", cifar10_files(3, prefix));
    const auto tree = open_archive(folder.path() / "c.tar.gz");
    const auto loaded = load_cifar(*tree, Part::test, 3);
    ASSERT_TRUE(loaded.has_value());
    EXPECT_THAT(loaded->dataset.labels, ElementsAre(0, 1, 2));
    EXPECT_EQ(loaded->dataset.pixels[0], 50);
    EXPECT_EQ(loaded->dataset.names[2], "test_batch.bin#2");
  }
}

TEST(Cifar, TakesTheFineLabelsOfCifar100) {
  const core::TemporaryFolder folder;
  test::write_bytes(folder.path() / "train.bin", batch(10, 60, 2, 100));
  test::write_bytes(folder.path() / "test.bin", batch(2, 98, 2, 100));
  const auto tree = open_folder(folder.path());
  const auto train = load_cifar(*tree, Part::train, 2);
  const auto test = load_cifar(*tree, Part::test, 2);
  ASSERT_TRUE(train.has_value() && test.has_value());
  EXPECT_EQ(train->source, "CIFAR-100 (binary)");
  EXPECT_THAT(train->dataset.labels, ElementsAre(60, 61, 62, 63, 64, 65, 66, 67, 68, 69));
  EXPECT_THAT(test->dataset.labels, ElementsAre(98, 99));
  ASSERT_EQ(train->dataset.classes.size(), 100);
  EXPECT_EQ(train->dataset.classes[0], "apple");
  EXPECT_EQ(train->dataset.classes[99], "worm");
  EXPECT_TRUE(std::is_sorted(train->dataset.classes.begin(), train->dataset.classes.end()));
}

TEST(Cifar, RefusesAMissingBatchEvenOfThePartNotAskedFor) {
  const core::TemporaryFolder folder;
  write_files(folder.path(), cifar10_files(2, ""));
  fs::remove(folder.path() / "test_batch.bin");
  EXPECT_EQ(failure(folder.path()), "CIFAR-10: test_batch.bin is missing");
  fs::remove(folder.path() / "data_batch_3.bin");
  EXPECT_EQ(failure(folder.path()), "CIFAR-10: data_batch_3.bin is missing");
}

TEST(Cifar, RefusesABatchOfTheWrongLength) {
  const core::TemporaryFolder folder;
  write_files(folder.path(), cifar10_files(2, ""));
  fs::resize_file(folder.path() / "data_batch_5.bin", 2 * 3073 - 1);
  EXPECT_EQ(failure(folder.path()), "data_batch_5.bin: the file has 6145 bytes, expected 6146");
  // The files consist of whole records, but fewer than the official files have.
  fs::resize_file(folder.path() / "data_batch_5.bin", 3073);
  EXPECT_EQ(failure(folder.path()), "data_batch_5.bin: the file has 3073 bytes, expected 6146");
  EXPECT_EQ(failure(folder.path(), 10000),
            "data_batch_1.bin: the file has 6146 bytes, expected 30730000");
}

TEST(Cifar, RefusesALabelBeyondTheClasses) {
  const core::TemporaryFolder folder;
  auto files = cifar10_files(2, "");
  files[1].bytes[3073] = std::byte(10);
  write_files(folder.path(), files);
  EXPECT_EQ(failure(folder.path()),
            "data_batch_2.bin: image 1 has label 10, the largest allowed is 9");
}

TEST(Cifar, SaysWhichFileToTakeInsteadOfThePythonVersion) {
  const core::TemporaryFolder folder;
  const auto some = test::bytes_of("pickled");
  test::write_bytes(folder.path() / "ten/cifar-10-batches-py/data_batch_1", some);
  test::write_bytes(folder.path() / "ten/cifar-10-batches-py/batches.meta", some);
  EXPECT_THAT(failure(folder.path() / "ten"), HasSubstr("use the binary version, cifar-10-binary"));
  test::write_bytes(folder.path() / "hundred/cifar-100-python/meta", some);
  EXPECT_THAT(failure(folder.path() / "hundred"), HasSubstr("version, cifar-100-binary.tar.gz"));
  test::write_bytes(folder.path() / "matlab/batches.meta.mat", some);
  EXPECT_THAT(failure(folder.path() / "matlab"), HasSubstr("this is the Matlab version"));
}

TEST(Cifar, LeavesOtherFoldersToOtherReaders) {
  const core::TemporaryFolder folder;
  test::write_bytes(folder.path() / "cat/1.jpg", test::bytes_of("x"));
  EXPECT_FALSE(load_cifar(*open_folder(folder.path()), Part::train).has_value());
  // Other data sets use these names too.
  test::write_bytes(folder.path() / "cat/train.bin", batch(1, 0, 1, 100));
  test::write_bytes(folder.path() / "dog/test.bin", {});
  EXPECT_EQ(failure(folder.path()), "no error");
  EXPECT_FALSE(load_cifar(*open_folder(folder.path()), Part::train).has_value());
}

TEST(Cifar, RecognisesCifar100ByItsRecordsOrItsFileNames) {
  const core::TemporaryFolder folder;
  test::write_bytes(folder.path() / "train.bin", batch(10, 0, 2, 100));
  EXPECT_EQ(failure(folder.path()), "CIFAR-100: test.bin is missing");
  test::write_bytes(folder.path() / "test.bin", test::bytes_of("damaged"));
  EXPECT_EQ(failure(folder.path()), "test.bin: the file has 7 bytes, expected 6148");
  fs::resize_file(folder.path() / "train.bin", 30739);
  EXPECT_EQ(failure(folder.path()), "train.bin: the file has 30739 bytes, expected 30740");
}

TEST(Cifar, FindsCifar100BehindAnotherFileOfItsName) {
  const core::TemporaryFolder folder;
  test::write_bytes(folder.path() / "a/train.bin", test::bytes_of("another"));
  test::write_bytes(folder.path() / "b/train.bin", batch(10, 60, 2, 100));
  test::write_bytes(folder.path() / "b/test.bin", batch(2, 98, 2, 100));
  const auto test = load_cifar(*open_folder(folder.path()), Part::test, 2);
  ASSERT_TRUE(test.has_value());
  EXPECT_THAT(test->dataset.labels, ElementsAre(98, 99));
}

}  // namespace
}  // namespace offramp::data
