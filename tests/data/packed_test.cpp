#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "tests/support/full_disk.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

LoadedData sample(int count, int first) {
  LoadedData data;
  data.source = "image folder";
  data.sizes = {4, 9, 3, 8};
  Dataset& dataset = data.dataset;
  dataset.width = 4;
  dataset.height = 3;
  dataset.classes = {"a class", "\xc3\xa9t\xc3\xa9"};
  for (int i = 0; i < count; ++i) {
    const image::Image image = test::patterned_image(4, 3, first + i);
    dataset.pixels.insert(dataset.pixels.end(), image.rgb.begin(), image.rgb.end());
    dataset.labels.push_back(i % 2);
    dataset.names.push_back(fmt::format("train/{}.jpg", first + i));
    dataset.hashes.push_back(0xfedcba9876543210u + static_cast<std::uint64_t>(i));
  }
  return data;
}

void expect_equal(const LoadedData& a, const LoadedData& b) {
  EXPECT_EQ(a.source, b.source);
  EXPECT_EQ(a.sizes, b.sizes);
  EXPECT_EQ(a.dataset.width, b.dataset.width);
  EXPECT_EQ(a.dataset.height, b.dataset.height);
  EXPECT_EQ(a.dataset.classes, b.dataset.classes);
  EXPECT_EQ(copy_pixels(a.dataset), copy_pixels(b.dataset));
  EXPECT_EQ(a.dataset.labels, b.dataset.labels);
  EXPECT_EQ(a.dataset.names, b.dataset.names);
  EXPECT_EQ(a.dataset.hashes, b.dataset.hashes);
  ASSERT_EQ(a.skipped.size(), b.skipped.size());
  for (std::size_t i = 0; i < a.skipped.size(); ++i) {
    EXPECT_EQ(a.skipped[i].name, b.skipped[i].name);
    EXPECT_EQ(a.skipped[i].reason, b.skipped[i].reason);
  }
}

TEST(Packed, GivesBackBothPartsWithNamesHashesAndSkippedFiles) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "images.offramp";
  LoadedData train = sample(5, 0);
  train.skipped = {{"train/x.jpg", "truncated"}, {"train/y.jpg", ""}};
  const LoadedData test = sample(2, 50);
  write_packed(path, train, test);
  expect_equal(load_data(path.string(), Part::train, {}), train);
  expect_equal(load_data(path.string(), Part::test, {}), test);
}

TEST(Packed, IsResizedWhenAnotherSizeIsAskedFor) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "images.offramp";
  const LoadedData data = sample(3, 0);
  write_packed(path, data, data);
  LoadOptions options;
  options.width = 8;
  options.height = 6;
  options.fit = core::Fit::crop;
  const LoadedData loaded = load_data(path.string(), Part::train, options);
  EXPECT_EQ(loaded.dataset.width, 8);
  EXPECT_EQ(loaded.dataset.hashes, data.dataset.hashes);
  const auto rgb = loaded.dataset.image(2);
  EXPECT_EQ(std::vector<std::uint8_t>(rgb.begin(), rgb.end()),
            image::resize(test::patterned_image(4, 3, 2), 8, 6, core::Fit::crop).rgb);
}

TEST(Packed, RefusesPartsThatDoNotFitTogether) {
  const core::TemporaryFolder folder;
  LoadedData other = sample(2, 0);
  other.dataset.classes[1] = "another";
  EXPECT_THROW(write_packed(folder.path() / "x", sample(2, 0), other), Error);
  EXPECT_FALSE(fs::exists(folder.path() / "x"));
}

TEST(PackedDeathTest, KeepsTheOldFileWhenTheDiskFillsUp) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "images.offramp";
  const LoadedData old = sample(2, 0), large = sample(200, 0);
  write_packed(path, old, old);
  EXPECT_EXIT(test::with_full_disk([&] { write_packed(path, large, large); }),
              ::testing::ExitedWithCode(1), "images.offramp: cannot write: File too large");
  expect_equal(load_data(path.string(), Part::train, {}), old);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

/// Writes a packed file with one change, and returns the message of loading it, without the path.
template <typename Change>
std::string failure(Change change) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "images.offramp";
  write_packed(path, sample(4, 0), sample(4, 10));
  core::Metadata metadata;
  core::Tensors tensors;
  {
    const core::Safetensors file = core::Safetensors::open(path);
    metadata = file.metadata();
    for (const auto& [name, view] : file.tensors()) tensors[name] = view.copy();
  }
  change(metadata, tensors);
  core::write_safetensors(path, metadata, tensors);
  try {
    load_data(path.string(), Part::train, {});
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with(path.string() + ": ")) << message;
    return message.substr(path.string().size() + 2);
  }
  return "no error";
}

TEST(Packed, RefusesAnotherKindOfSafetensorsFile) {
  EXPECT_THAT(failure([](core::Metadata& m, core::Tensors&) { m.erase("format"); }),
              HasSubstr("a safetensors file, but not a packed data set"));
  EXPECT_THAT(failure([](core::Metadata& m, core::Tensors&) { m["format"] = "offramp-data 3"; }),
              HasSubstr("its format is \"offramp-data 3\""));
  EXPECT_THAT(failure([](core::Metadata& m, core::Tensors&) {
                m["format"] = "\x1b[2J" + std::string(999, 'a');
              }),
              HasSubstr("its format is \"\\x1b[2J" + std::string(116, 'a') + "…\""));
}

TEST(Packed, RefusesTensorsThatDoNotFit) {
  using Values = std::vector<std::int64_t>;
  const auto i64 = [](Values shape, Values values) {
    return core::HostTensor::of(std::move(shape), std::span<const std::int64_t>(values));
  };
  EXPECT_THAT(failure([](core::Metadata&, core::Tensors& t) { t.erase("train.hashes"); }),
              HasSubstr("train.hashes"));
  EXPECT_EQ(failure([&](core::Metadata&, core::Tensors& t) {
              t["train.labels"] = i64({3}, {0, 1, 0});
            }),
            "tensor \"train.labels\": 3 values, expected 4");
  EXPECT_EQ(failure([&](core::Metadata&, core::Tensors& t) {
              t["train.labels"] = i64({4}, {0, 1, 2, 0});
            }),
            "tensor \"train.labels\": label 2, expected 0 to 1");
  EXPECT_EQ(failure([&](core::Metadata&, core::Tensors& t) {
              t["train.labels"] = i64({4}, {0, 1, -1, 0});
            }),
            "tensor \"train.labels\": label -1, expected 0 to 1");
  EXPECT_EQ(failure([&](core::Metadata&, core::Tensors& t) {
              t["train.hashes"] = i64({4}, {0, 1, 2, 0});
            }),
            "tensor \"train.hashes\": I64[4], expected U64 with 1 dimensions");
  EXPECT_THAT(failure([](core::Metadata&, core::Tensors& t) {
                t["train.pixels"].shape = {4, 3, 12, 1};
              }),
              HasSubstr("shape [4,3,12,1], expected [N, height, width, 3]"));
  EXPECT_THAT(failure([](core::Metadata&, core::Tensors& t) {
                t["train.pixels"].shape = {0, 3, 4, 3};
                t["train.pixels"].bytes.clear();
              }),
              HasSubstr("tensor \"train.labels\": 4 values, expected 0"));
  EXPECT_THAT(
      failure([](core::Metadata&, core::Tensors& t) { t["train.names"].bytes[2] = std::byte(0); }),
      HasSubstr("tensor \"train.names\": 5 names, expected 4"));
  EXPECT_THAT(failure([](core::Metadata&, core::Tensors& t) {
                t["train.names"].bytes.back() = std::byte(1);
              }),
              HasSubstr("the last text is not followed by a zero byte"));
  EXPECT_THAT(failure([](core::Metadata&, core::Tensors& t) {
                t["classes"] = core::HostTensor::of(
                    {4}, std::span<const std::uint8_t>(std::vector<std::uint8_t>{65, 0, 65, 0}));
              }),
              HasSubstr("there is no class, or two have the same name"));
}

TEST(Packed, RefusesSidesTooLong) {
  const auto strip = [](std::int64_t height, std::int64_t width) {
    return failure([&](core::Metadata&, core::Tensors& t) {
      const auto bytes = static_cast<std::size_t>(height * width * 3);
      t["train.pixels"] = {core::DType::u8, {1, height, width, 3}, std::vector<std::byte>(bytes)};
    });
  };
  EXPECT_EQ(strip((1 << 20) + 1, 1),
            "tensor \"train.pixels\": shape [1,1048577,1,3], expected [N, height, width, 3]");
  EXPECT_EQ(strip(1, (1 << 20) + 1),
            "tensor \"train.pixels\": shape [1,1,1048577,3], expected [N, height, width, 3]");
  EXPECT_THAT(strip(0, 4), HasSubstr("shape [1,0,4,3], expected [N, height, width, 3]"));
}

TEST(Packed, RefusesInvalidListsOfSkippedFilesAndSizes) {
  const auto skipped = [](std::vector<std::uint8_t> text) {
    return failure([&](core::Metadata&, core::Tensors& t) {
      t["train.skipped"] =
          core::HostTensor::of({std::ssize(text)}, std::span<const std::uint8_t>(text));
    });
  };
  EXPECT_EQ(skipped({'a', 0, 'b', 0}), "no error");
  EXPECT_EQ(skipped({'a', 0, 'b', 0, 'c', 0}), "tensor \"train.skipped\": a name has no reason");
  const auto sizes = [](std::vector<std::int64_t> values) {
    return failure([&](core::Metadata&, core::Tensors& t) {
      t["train.sizes"] =
          core::HostTensor::of({std::ssize(values)}, std::span<const std::int64_t>(values));
    });
  };
  EXPECT_EQ(sizes({0, INT32_MAX, 3, 8}), "no error");
  EXPECT_EQ(sizes({-1, 9, 3, 8}), "tensor \"train.sizes\": invalid size -1");
  EXPECT_EQ(sizes({4, 9, 3, std::int64_t{INT32_MAX} + 1}),
            "tensor \"train.sizes\": invalid size 2147483648");
  EXPECT_EQ(sizes({4, 9, 3}), "tensor \"train.sizes\": 3 values, expected 4");
}

TEST(Packed, RefusesImageFilesThatDoNotFit) {
  const auto with_files = [](std::vector<std::int64_t> ends, std::vector<std::int64_t> size) {
    return failure([&](core::Metadata& m, core::Tensors& t) {
      m["format"] = "offramp-data 2";
      const std::vector<std::uint8_t> bytes(9);
      t["train.files"] = core::HostTensor::of({9}, std::span<const std::uint8_t>(bytes));
      t["train.ends"] =
          core::HostTensor::of({std::ssize(ends)}, std::span<const std::int64_t>(ends));
      t["image_size"] =
          core::HostTensor::of({std::ssize(size)}, std::span<const std::int64_t>(size));
    });
  };
  EXPECT_EQ(with_files({2, 4, 8, 9}, {3, 2}), "no error");
  EXPECT_EQ(with_files({2, 4, 3, 9}, {3, 2}), "tensor \"train.ends\": 3, expected 4 to 9");
  EXPECT_EQ(with_files({2, 4, 8, 10}, {3, 2}), "tensor \"train.ends\": 10, expected 8 to 9");
  EXPECT_EQ(with_files({-1, 4, 8, 9}, {3, 2}), "tensor \"train.ends\": -1, expected 0 to 9");
  EXPECT_EQ(with_files({2, 4, 9}, {3, 2}), "tensor \"train.labels\": 4 values, expected 3");
  EXPECT_EQ(with_files({2, 4, 8, 9}, {3, 0}), "tensor \"image_size\": 0, expected 1 to 1048576");
  EXPECT_EQ(with_files({2, 4, 8, 9}, {3}), "tensor \"image_size\": 1 values, expected 2");
}

TEST(Packed, RefusesAFileWithoutClasses) {
  EXPECT_EQ(failure([](core::Metadata&, core::Tensors& t) {
              t["classes"] = core::HostTensor::of({0}, std::span<const std::uint8_t>());
            }),
            "tensor \"classes\": there is no class, or two have the same name");
}

// The file is sparse: its size is 6 TiB, but it occupies only a few blocks of the disk. All its
// labels, hashes and pixels are 0, and its names are empty.
TEST(Packed, MapsMoreImagesThanTheMemoryHolds) {
  constexpr std::uint64_t kImages = std::uint64_t{1} << 21, kImageBytes = 3 << 20;
  std::string header = R"({"__metadata__":{"format":"offramp-data 1"})";
  std::uint64_t end = 0;
  const auto add = [&](std::string_view name, std::string_view dtype, std::string_view shape,
                       std::uint64_t bytes) {
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", name,
                          dtype, shape, end, end + bytes);
    end += bytes;
  };
  add("classes", "U8", "2", 2);
  add("train.labels", "I64", fmt::to_string(kImages), 8 * kImages);
  add("train.hashes", "U64", fmt::to_string(kImages), 8 * kImages);
  add("train.names", "U8", fmt::to_string(kImages), kImages);
  add("train.skipped", "U8", "0", 0);
  add("train.sizes", "I64", "4", 32);
  add("train.pixels", "U8", fmt::format("{},1024,1024,3", kImages), kImages * kImageBytes);
  header += "}";
  const std::uint64_t header_bytes = header.size();
  const std::string classes("a", 2);
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "images.offramp";
  core::write_file_atomic(
      path, std::array<std::span<const std::byte>, 3>{std::as_bytes(std::span(&header_bytes, 1)),
                                                      std::as_bytes(std::span(header)),
                                                      std::as_bytes(std::span(classes))});
  std::error_code refused;
  fs::resize_file(path, 8 + header_bytes + end, refused);
  if (refused) GTEST_SKIP() << "no sparse file of 6 TiB here: " << refused.message();
  const LoadedData loaded = load_data(path.string(), Part::train, {});
  EXPECT_EQ(loaded.dataset.size(), static_cast<std::int64_t>(kImages));
  const ImagePixels last = loaded.dataset.image(kImages - 1);
  EXPECT_EQ(last.size(), kImageBytes);
  EXPECT_TRUE(std::ranges::all_of(last, [](std::uint8_t value) { return value == 0; }));
  EXPECT_THROW(copy_pixels(loaded.dataset), Error) << "they do not fit in memory";
}

/// Writes a data set in three shards of 5, 0 and 2 training images and 1, 1 and 0 test images.
std::vector<fs::path> write_shards(const fs::path& folder) {
  std::vector<fs::path> paths;
  const int train[] = {5, 0, 2}, test[] = {1, 1, 0};
  for (int i = 0; i < 3; ++i) {
    paths.push_back(folder / fmt::format("shapes-{:05}-of-00003.offramp", i));
    LoadedData part = sample(train[i], 10 * i);
    part.skipped = {{fmt::format("train/{}", i), "truncated"}};
    write_packed(paths.back(), part, sample(test[i], 50 + i));
  }
  return paths;
}

TEST(PackedShards, AreOneDataSetByFolderOrByAnyOfThem) {
  const core::TemporaryFolder folder;
  const std::vector<fs::path> paths = write_shards(folder.path());
  LoadedData expected = sample(5, 0);
  const LoadedData third = sample(2, 20);
  expected.skipped = {{"train/0", "truncated"}, {"train/1", "truncated"}, {"train/2", "truncated"}};
  const auto append = [](auto& all, const auto& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  append(expected.dataset.pixels, third.dataset.pixels);
  append(expected.dataset.labels, third.dataset.labels);
  append(expected.dataset.names, third.dataset.names);
  append(expected.dataset.hashes, third.dataset.hashes);
  for (const fs::path& path : {folder.path(), paths[0], paths[2]})
    expect_equal(load_data(path.string(), Part::train, {}), expected);
  EXPECT_EQ(load_data(folder.path().string(), Part::test, {}).dataset.size(), 2);
}

TEST(PackedShards, SayWhichIsMissingOrDiffers) {
  const core::TemporaryFolder folder;
  const std::vector<fs::path> paths = write_shards(folder.path());
  const auto failure = [&] {
    return test::message_of([&] { load_data(paths[0].string(), Part::train, {}); });
  };
  LoadedData other = sample(2, 0);
  other.dataset.classes[1] = "another";
  write_packed(paths[1], other, other);
  EXPECT_THAT(failure(), HasSubstr("shapes-00001-of-00003.offramp: its classes or its image size"));
  fs::remove(paths[1]);
  EXPECT_THAT(failure(), HasSubstr("shard 2 of 3 is missing: shapes-00001-of-00003.offramp"));
  write_packed(folder.path() / "photos-00000-of-00001", other, other);
  EXPECT_THAT(
      test::message_of([&] { load_data(folder.path().string(), Part::train, {}); }),
      HasSubstr("several sets of shards (photos-00000-of-00001, shapes-00000-of-00003.offramp)"));
}

TEST(Packed, RefusesAPartWithoutImages) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "images.offramp";
  write_packed(path, sample(0, 0), sample(2, 10));
  EXPECT_THAT(test::message_of([&] { load_data(path.string(), Part::train, {}); }),
              HasSubstr("tensor \"train.pixels\": it holds no image"));
}

TEST(Packed, RefusesAFileCutAnywhere) {
  const core::TemporaryFolder folder;
  const fs::path path = folder.path() / "images.offramp";
  write_packed(path, sample(2, 0), sample(2, 10));
  const auto bytes = core::read_file(path);
  for (std::size_t size = 0; size < bytes.size(); size += 7) {
    test::write_bytes(path, std::span(bytes).first(size));
    EXPECT_THROW(load_data(path.string(), Part::train, {}), Error) << size;
  }
}

}  // namespace
}  // namespace offramp::data
