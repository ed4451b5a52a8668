#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string failure(const std::string& source, const LoadOptions& options = {}) {
  return test::message_of([&] { load_data(source, Part::train, options); });
}

TEST(LoadData, DrawsSyntheticImagesFromTheSeedInTheName) {
  LoadOptions options;
  options.synthetic_train = 20;
  options.synthetic_test = 10;
  options.seed = 5;
  const LoadedData five = load_data("synthetic", Part::train, options);
  EXPECT_EQ(five.source, "synthetic, seed 5");
  EXPECT_EQ(five.dataset.size(), 20);
  EXPECT_EQ(five.dataset.width, 32);
  EXPECT_EQ(load_data("synthetic", Part::test, options).dataset.size(), 10);
  const LoadedData six = load_data("synthetic:6", Part::train, options);
  EXPECT_EQ(six.source, "synthetic, seed 6");
  EXPECT_NE(six.dataset.pixels, five.dataset.pixels);
  options.seed = 6;
  EXPECT_EQ(load_data("synthetic", Part::train, options).dataset.pixels, six.dataset.pixels);
  options.width = 48;
  options.height = 40;
  const LoadedData larger = load_data("synthetic", Part::train, options);
  EXPECT_EQ(larger.dataset.width, 48);
  EXPECT_EQ(larger.dataset.height, 40);
  EXPECT_EQ(larger.sizes, (SizeRange{48, 48, 40, 40}));
}

TEST(LoadData, DrawsAsManySyntheticClassesAsTheNameSays) {
  LoadOptions options;
  options.synthetic_train = 40;
  const LoadedData many = load_data("synthetic:6:20", Part::train, options);
  EXPECT_EQ(many.dataset.classes.size(), 20u);
  EXPECT_EQ(many.source, "synthetic, seed 6, 20 classes");
  for (const char* source :
       {"synthetic:6:", "synthetic:6:x", "synthetic:6:1", "synthetic:6:21", "synthetic:6:5:5"})
    EXPECT_THROW(load_data(source, Part::train, options), UsageError) << source;
}

TEST(LoadData, NumbersTheSameClassesInTheGivenOrder) {
  LoadOptions options;
  options.synthetic_train = 30;
  const Dataset own = load_data("synthetic:6:3", Part::train, options).dataset;
  const std::vector<std::string> names = own.classes;
  options.classes = {names[2], names[0], names[1]};
  const Dataset other = load_data("synthetic:6:3", Part::train, options).dataset;
  EXPECT_EQ(other.classes, options.classes);
  EXPECT_EQ(other.hashes, own.hashes);
  for (std::size_t i = 0; i < own.labels.size(); ++i)
    EXPECT_EQ(other.classes[static_cast<std::size_t>(other.labels[i])],
              names[static_cast<std::size_t>(own.labels[i])]);
  options.classes = {names[2], names[0], "another"};
  EXPECT_EQ(load_data("synthetic:6:3", Part::train, options).dataset.classes, names);
}

TEST(LoadData, RefusesAnInvalidSeed) {
  for (const char* source : {"synthetic:", "synthetic:x", "synthetic:1x", "synthetic:-1"}) {
    EXPECT_THROW(load_data(source, Part::train, {}), UsageError) << source;
  }
}

TEST(LoadData, RefusesHalfASize) {
  LoadOptions options;
  options.width = 32;
  EXPECT_THROW(load_data("synthetic", Part::train, options), UsageError);
}

TEST(LoadData, NamesThePathOnceAtTheBeginningOfAnError) {
  const core::TemporaryFolder folder;
  const std::string missing = (folder.path() / "nothing").string();
  EXPECT_EQ(failure(missing), missing + ": no such file or folder");
  // The name of the source is a prefix of the name of the damaged file.
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  test::write_bytes("data/data_batch_1.bin", test::bytes_of("short"));
  const std::string message = failure("data");
  std::filesystem::current_path(before);
  EXPECT_EQ(message, "data: data_batch_1.bin: the file has 5 bytes, expected 30730000");
}

TEST(LoadData, RefusesFilesOfNoKnownKind) {
  const core::TemporaryFolder folder;
  const std::string path = (folder.path() / "file").string();
  test::write_bytes(path, {});
  EXPECT_EQ(failure(path), path + ": the file is empty");
  test::write_bytes(path, test::bytes_of("a text, neither an archive nor a packed file"));
  EXPECT_THAT(failure(path), StartsWith(path + ": not a .tar, .tar.gz, .tar.xz or .zip"));
  EXPECT_THAT(failure("/dev/null"), HasSubstr("neither a file nor a folder"));
}

}  // namespace
}  // namespace offramp::data
