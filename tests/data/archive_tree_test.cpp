#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <mutex>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "data/file_tree.h"
#include "tests/support/image_files.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using detail::ArchiveLimits;
using detail::open_archive;
using test::ArchiveEntry;
using test::bytes_of;
using test::patterned_image;
using test::stored_image;
using test::write_archive;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<ArchiveEntry> image_entries(const std::string& prefix) {
  std::vector<ArchiveEntry> entries;
  int seed = 0;
  for (const char* name : {"test/dog/c.png", "train/dog/b.png", "test/cat/c.png", "train/cat/a.png",
                           "train/dog/a.png", "train/cat/b.png"}) {
    entries.push_back({prefix + name, image::encode_png(patterned_image(8, 6, ++seed)), "", false});
  }
  return entries;
}

/// Opens an archive, reads all of it and returns the error message.
std::string failure(const fs::path& path, const ArchiveLimits& limits = {}) {
  try {
    const auto tree = open_archive(path, limits);
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < tree->members().size(); ++i) {
      if (!tree->members()[i].is_folder) all.push_back(i);
    }
    std::string problem = "no error";
    std::mutex mutex;
    tree->read(all, [&](std::size_t, const detail::Content& content) {
      const std::lock_guard lock(mutex);
      if (!content.problem.empty()) problem = "problem: " + content.problem;
    });
    return problem;
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Archive, LoadsAsTheFolderWould) {
  const core::TemporaryFolder folder;
  for (const auto& entry : image_entries("")) {
    test::write_bytes(folder.path() / "folder" / entry.path, entry.bytes);
  }
  const Dataset expected = load_data((folder.path() / "folder").string(), Part::train, {}).dataset;
  ASSERT_EQ(expected.size(), 4);
  for (const char* name : {"a.tar", "a.tar.gz", "a.tar.xz", "a.zip"}) {
    for (const char* prefix : {"", "./", "top/", "top/within/"}) {
      const fs::path path = folder.path() / name;
      write_archive(path, image_entries(prefix));
      const LoadedData loaded = load_data(path.string(), Part::train, {});
      EXPECT_EQ(loaded.dataset.pixels, expected.pixels) << name << prefix;
      EXPECT_EQ(loaded.dataset.names, expected.names);
      EXPECT_EQ(loaded.dataset.labels, expected.labels);
      EXPECT_EQ(loaded.dataset.hashes, expected.hashes);
      EXPECT_EQ(load_data(path.string(), Part::test, {}).dataset.size(), 2);
    }
  }
}

TEST(Archive, IsFoundAsTheOnlyOneInAFolder) {
  const core::TemporaryFolder folder;
  write_archive(folder.path() / "images.tar.xz", image_entries("top/"));
  test::write_bytes(folder.path() / "README.md", bytes_of("about"));
  EXPECT_EQ(load_data(folder.path().string(), Part::train, {}).dataset.size(), 4);
  write_archive(folder.path() / "more.zip", image_entries("top/"));
  try {
    load_data(folder.path().string(), Part::train, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("several archives (images.tar.xz, more.zip)"));
  }
}

TEST(Archive, SplitsClassFoldersBySeedAsAFolderWould) {
  const core::TemporaryFolder folder;
  std::vector<ArchiveEntry> entries;
  for (int i = 0; i < 24; ++i) {
    entries.push_back({fmt::format("{}/{:02}.png", i % 2 == 0 ? "cat" : "dog", i),
                       image::encode_png(patterned_image(8, 8, i)), "", false});
    test::write_bytes(folder.path() / "folder" / entries.back().path, entries.back().bytes);
  }
  write_archive(folder.path() / "a.zip", entries);
  for (const Part part : {Part::train, Part::test}) {
    EXPECT_EQ(load_data((folder.path() / "a.zip").string(), part, {}).dataset.names,
              load_data((folder.path() / "folder").string(), part, {}).dataset.names);
  }
}

TEST(Archive, ReadsWebpAndBmp) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.zip";
  write_archive(path, {{"test/cat/a.WEBP", stored_image("lossless.webp"), "", false},
                       {"test/dog/a.Bmp", stored_image("rgb24.bmp"), "", false}});
  const Dataset loaded = load_data(path.string(), Part::test, {}).dataset;
  ASSERT_EQ(loaded.size(), 2);
  EXPECT_TRUE(std::ranges::equal(loaded.image(0), loaded.image(1)));
}

TEST(Archive, LeavesOutDamagedImagesAndLinksAndNamesThem) {
  const core::TemporaryFolder folder;
  auto entries = image_entries("");
  entries.push_back({"train/cat/bad.jpg", bytes_of("no image"), "", false});
  entries.push_back({"train/cat/hard.png", {}, "train/cat/a.png", true});
  entries.push_back({"train/cat/soft.png", {}, "/etc/passwd", false});
  write_archive(folder.path() / "a.tar", entries);
  const LoadedData loaded = load_data((folder.path() / "a.tar").string(), Part::train, {});
  EXPECT_EQ(loaded.dataset.size(), 4);
  ASSERT_EQ(loaded.skipped.size(), 3);
  EXPECT_EQ(loaded.skipped[0].reason, "not a JPEG, PNG, WebP or BMP");
  EXPECT_EQ(loaded.skipped[1].name, "train/cat/hard.png");
  EXPECT_EQ(loaded.skipped[1].reason, "a link inside the archive");
  EXPECT_EQ(loaded.skipped[2].reason, "a link inside the archive");
}

TEST(Archive, TakesTheLaterOfTwoEntriesWithOnePath) {
  const core::TemporaryFolder folder;
  auto entries = image_entries("");
  entries.push_back({"./train/cat/a.png", image::encode_png(patterned_image(8, 6, 77)), "", false});
  write_archive(folder.path() / "a.tar", entries);
  const Dataset dataset = load_data((folder.path() / "a.tar").string(), Part::train, {}).dataset;
  ASSERT_EQ(dataset.size(), 4);
  const auto rgb = dataset.image(0);
  EXPECT_EQ(std::vector<std::uint8_t>(rgb.begin(), rgb.end()), patterned_image(8, 6, 77).rgb);
}

TEST(Archive, KeepsNamesOutsideAscii) {
  const core::TemporaryFolder folder;
  auto entries = image_entries("");
  entries.push_back({"train/cat/sleepy \xc3\xa9t\xc3\xa9.png",
                     image::encode_png(patterned_image(8, 6, 9)), "", false});
  for (const char* name : {"a.tar", "a.zip"}) {
    write_archive(folder.path() / name, entries);
    EXPECT_EQ(load_data((folder.path() / name).string(), Part::train, {}).dataset.names[2],
              "train/cat/sleepy \xc3\xa9t\xc3\xa9.png");
  }
}

TEST(Archive, RefusesPathsThatLeaveIt) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.tar";
  write_archive(path, {{"train/../../x.png", bytes_of("x"), "", false}});
  EXPECT_EQ(failure(path),
            "entry \"train/../../x.png\": the path leads outside the archive with \"..\"");
  write_archive(path, {{"/etc/x.png", bytes_of("x"), "", false}});
  EXPECT_EQ(failure(path), "entry \"/etc/x.png\": an absolute path");
}

TEST(Archive, QuotesThePathsOfItsErrors) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.zip";
  write_archive(path, {{"/\x1b[2J\n" + std::string(999, 'a'), bytes_of("x"), "", false}});
  EXPECT_EQ(failure(path),
            "entry \"/\\x1b[2J\\x0a" + std::string(114, 'a') + "…\": an absolute path");
  write_archive(path, {{"../\x1b[2J", bytes_of("x"), "", false}});
  EXPECT_EQ(failure(path), "entry \"../\\x1b[2J\": the path leads outside the archive with \"..\"");
}

/// Returns the header and content of a tar entry, for kinds of entry that write_archive does not
/// write. @param fields  further header texts, with their byte offset
std::string tar_entry(const std::string& name, char type, const std::string& content,
                      const std::map<std::size_t, std::string>& fields = {}) {
  constexpr std::size_t kBlock = 512;
  std::string header(kBlock, '\0');
  const auto put = [&](std::size_t at, const std::string& text) {
    header.replace(at, text.size(), text);
  };
  put(0, name), put(100, "0000644"), put(108, "0000000"), put(116, "0000000");
  put(124, fmt::format("{:011o}", content.size())), put(136, fmt::format("{:011o}", 0));
  put(156, std::string(1, type)), put(257, "ustar  ");
  for (const auto& [at, text] : fields) put(at, text);
  put(148, std::string(8, ' '));
  int sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum) + '\0');
  return header + content + std::string((kBlock - content.size() % kBlock) % kBlock, '\0');
}

void write_tar(const fs::path& path, const std::string& entries) {
  test::write_bytes(path, bytes_of(entries + std::string(1024, '\0')));
}

TEST(Archive, RefusesPathsTooLong) {
  const core::TemporaryFolder folder;
  const std::string name(4097, 'a');
  const std::string expected =
      "entry \"" + std::string(120, 'a') + "…\": a path of 4097 bytes, more than the 4096 allowed";
  const fs::path zip = folder.path() / "a.zip", tar = folder.path() / "a.tar";
  write_archive(zip, {{name.substr(1), bytes_of("x"), "", false}});
  EXPECT_EQ(failure(zip), "no error");
  write_archive(zip, {{name, bytes_of("x"), "", false}});
  EXPECT_EQ(failure(zip), expected);
  // GNU tar stores a long name as a separate entry before the file.
  write_tar(tar, tar_entry("././@LongLink", 'L', name + '\0') + tar_entry("a", '0', "x"));
  EXPECT_EQ(failure(tar), expected);
}

TEST(Archive, RefusesASparseFile) {
  const core::TemporaryFolder folder;
  const std::string content(512, 'x');
  // The sparse map of GNU tar: 512 bytes of data at offset 4096, in a file of 4608 bytes.
  write_tar(folder.path() / "a.tar", tar_entry("a.png", 'S', content,
                                               {{386, fmt::format("{:011o}", 4096)},
                                                {398, fmt::format("{:011o}", 512)},
                                                {483, fmt::format("{:011o}", 4608)}}) +
                                         tar_entry("b.png", '0', content));
  EXPECT_EQ(failure(folder.path() / "a.tar"), "problem: a sparse file inside the archive");
}

TEST(Archive, RefusesAnEntryThatGrowsPastItsClaim) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.zip";
  constexpr std::uint32_t kBytes = 0x123456, kClaimed = 4;
  write_archive(path, {{"a.png", std::vector<std::byte>(kBytes), "", false}});
  std::string zip = core::read_text(path);
  const auto field = [](const std::uint32_t& value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  };
  std::size_t claims = 0;
  for (std::size_t at = 0; (at = zip.find(field(kBytes), at)) != zip.npos; ++claims) {
    zip.replace(at, sizeof kBytes, field(kClaimed));
  }
  ASSERT_GE(claims, 2u) << "the local and the central header";
  test::write_bytes(path, bytes_of(zip));
  ArchiveLimits limits;
  limits.max_entry_bytes = 8;
  EXPECT_EQ(failure(path, limits), "problem: decompresses to more than the 8 bytes allowed");
}

TEST(Archive, RefusesABomb) {
  const core::TemporaryFolder folder;
  ArchiveLimits limits;
  limits.ratio_from_bytes = 1 << 20;
  const std::vector<std::byte> zeros(4 << 20);
  for (const char* name : {"a.tar.gz", "a.tar.xz", "a.zip"}) {
    const fs::path path = folder.path() / name;
    write_archive(path, {{"train/cat/a.png", zeros, "", false}});
    EXPECT_THAT(failure(path, limits), HasSubstr("more than 200 times its size")) << name;
  }
  // Entries that are not wanted count too, because a stream is decompressed to skip them.
  write_archive(folder.path() / "b.tar.gz", {{"ignored.bin", zeros, "", false}});
  EXPECT_THAT(failure(folder.path() / "b.tar.gz", limits),
              HasSubstr("refused as a decompression bomb"));
}

/// Opens an archive, which reads it once without the contents, and returns the error message.
std::string opening_failure(const fs::path& path, const ArchiveLimits& limits) {
  try {
    open_archive(path, limits);
    return "no error";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Archive, RefusesABombBehindCompressors) {
  const core::TemporaryFolder folder;
  ArchiveLimits limits;
  limits.ratio_from_bytes = 1 << 20;
  write_archive(folder.path() / "a.zip",
                {{"train/cat/a.png", std::vector<std::byte>(64 << 20), "", false}});
  const std::vector<std::byte> zip = core::read_file(folder.path() / "a.zip");
  test::write_bytes(folder.path() / "b.zip", test::gzip(test::gzip(zip)));
  EXPECT_THAT(opening_failure(folder.path() / "b.zip", limits),
              StartsWith("not a .tar, .tar.gz, .tar.xz or .zip archive"));
}

TEST(Archive, RefusesABombInAZipWithoutADirectory) {
  const core::TemporaryFolder folder;
  ArchiveLimits limits;
  limits.ratio_from_bytes = 1 << 20;
  const fs::path path = folder.path() / "a.zip";
  write_archive(path, {{"train/cat/a.png", std::vector<std::byte>(4 << 20), "", false},
                       {"train/cat/b.png", bytes_of("x"), "", false}});
  const std::string zip = core::read_text(path);
  const std::size_t directory = zip.find("PK\1\2");
  ASSERT_NE(directory, zip.npos);
  test::write_bytes(path, bytes_of(zip.substr(0, directory)));
  EXPECT_THAT(opening_failure(path, limits),
              StartsWith("not a .tar, .tar.gz, .tar.xz or .zip archive"));
}

TEST(Archive, LimitsTheMemoryOfItsNames) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "a.tar.gz";
  std::string entries;
  for (int i = 0; i < 20; ++i)
    entries +=
        tar_entry("././@LongLink", 'L', fmt::format("{:04}", i) + std::string(4000, 'a') + '\0') +
        tar_entry("a", '0', "x");
  test::write_bytes(path, test::gzip(bytes_of(entries + std::string(1024, '\0'))));
  ArchiveLimits limits;
  EXPECT_EQ(failure(path, limits), "no error");
  limits.max_name_bytes = 40'000;
  EXPECT_EQ(failure(path, limits), "the names in the archive have more than 40000 bytes");
}

TEST(Archive, HoldsItsLimits) {
  const core::TemporaryFolder folder;
  for (const char* name : {"a.tar", "a.zip"}) {
    const fs::path path = folder.path() / name;
    write_archive(path, {{"a.png", bytes_of("12345678"), "", false},
                         {"b.png", bytes_of("123456789"), "", false}});
    ArchiveLimits limits;
    EXPECT_EQ(failure(path, limits), "no error");
    limits.max_entries = 1;
    EXPECT_EQ(failure(path, limits), "the archive has more than 1 entries");
    limits.max_entries = 2, limits.max_entry_bytes = 8;
    EXPECT_EQ(failure(path, limits), "problem: 9 bytes, more than the 8 allowed");
    limits.max_entry_bytes = 9, limits.max_total_bytes = 16;
    EXPECT_EQ(failure(path, limits), "the archive decompresses to more than 16 bytes");
  }
}

TEST(Archive, RefusesAnEncryptedZip) {
  const core::TemporaryFolder folder;
  write_archive(folder.path() / "a.zip", image_entries(""), "secret");
  EXPECT_EQ(failure(folder.path() / "a.zip"), "the archive is encrypted");
}

TEST(Archive, RefusesOtherFilesAndTruncatedArchives) {
  const core::TemporaryFolder folder;
  test::write_bytes(folder.path() / "a.tar", bytes_of("just some text, and not an archive"));
  EXPECT_THAT(failure(folder.path() / "a.tar"), StartsWith("not a .tar, .tar.gz, .tar.xz or .zip"));
  for (const char* name : {"b.tar", "b.tar.gz", "b.tar.xz", "b.zip"}) {
    const fs::path path = folder.path() / name;
    write_archive(path, image_entries(""));
    fs::resize_file(path, fs::file_size(path) / 2);
    EXPECT_NE(failure(path), "no error") << name;
  }
  test::write_bytes(folder.path() / "empty.zip", {});
  EXPECT_THROW(load_data((folder.path() / "empty.zip").string(), Part::train, {}), Error);
}

TEST(Archive, SurvivesAnyChangedByte) {
  const core::TemporaryFolder folder;
  write_archive(folder.path() / "a.zip", image_entries(""));
  const auto bytes = core::read_file(folder.path() / "a.zip");
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    auto changed = bytes;
    changed[i] ^= std::byte(0x5a);
    test::write_bytes(folder.path() / "b.zip", changed);
    failure(folder.path() / "b.zip");
  }
}

TEST(Archive, PassesOnWhatAReaderThrows) {
  const core::TemporaryFolder folder;
  std::vector<ArchiveEntry> entries;
  for (int i = 0; i < 300; ++i) {
    entries.push_back({fmt::format("{:03}.png", i), bytes_of("x"), "", false});
  }
  write_archive(folder.path() / "a.tar", entries);
  const auto tree = open_archive(folder.path() / "a.tar");
  std::vector<std::size_t> all(300);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  EXPECT_THROW(tree->read(all,
                          [](std::size_t i, const detail::Content&) {
                            if (i == 150) throw UsageError("enough");
                          }),
               UsageError);
}

}  // namespace
}  // namespace offramp::data
