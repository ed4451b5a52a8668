#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "image/image.h"

namespace offramp {

/// Labelled images of one size, in memory.
struct Dataset {
  int height = 0;
  int width = 0;
  std::vector<std::string> classes;
  std::vector<std::uint8_t> pixels;  ///< [N, height, width, 3]
  std::vector<std::int64_t> labels;  ///< [N] in 0 … classes - 1
  std::vector<std::string>
      names;  ///< [N] where each image came from: "train/cat/0001.jpg", "data_batch_1.bin#7"
  std::vector<std::uint64_t> hashes;  ///< [N] see image_hash

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  std::span<const std::uint8_t> image(std::int64_t index) const {
    const auto bytes = static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
    return {pixels.data() + static_cast<std::size_t>(index) * bytes, bytes};
  }
};

/// The first 64 bits (big-endian) of the SHA-256 of width, height (as 32-bit little-endian) and
/// pixels: the identity of an image in provenance, whatever file it came from. Taken of the
/// decoded, upright image before any resizing, so it does not depend on the size a network wants.
std::uint64_t image_hash(int width, int height, std::span<const std::uint8_t> rgb);

/// An image that could not be used.
struct SkippedImage {
  std::string name;
  std::string reason;
};

enum class Part { train, test };

struct LoadOptions {
  /// Network input size; 0: the images' own size if they all agree, else UsageError asks for a
  /// size.
  int height = 0;
  int width = 0;
  Fit fit = Fit::squeeze;
  std::uint64_t seed =
      1;  ///< of synthetic images and of the train/test split of one unsplit folder
  int synthetic_train = 8000, synthetic_test = 2000;  ///< number of synthetic images
};

/// The sizes of images as they came, before resizing.
struct SizeRange {
  int min_width = 0, max_width = 0;
  int min_height = 0, max_height = 0;

  void add(int width, int height);
  bool operator==(const SizeRange&) const = default;
};

struct LoadedData {
  Dataset dataset;
  std::string source;  ///< for people and provenance: "CIFAR-10 (binary)", "IDX", "image folder",
                       ///< "synthetic, seed 1"
  std::vector<SkippedImage> skipped;  ///< damaged or misplaced images, left out
  SizeRange sizes;
};

/// Loads the training or the test images of a source:
/// - "synthetic", "synthetic:SEED" or "synthetic:SEED:CLASSES" (2 … 20 of them, else 10)
/// - a folder or .tar.gz of the official CIFAR-10 or CIFAR-100 binary archive
/// - a folder or archive of the four IDX files of MNIST, Fashion-MNIST and their like
/// - a folder train/<class>/*, test/<class>/* (the latter alone for Part::test; without it val,
///   valid or validation), or <class>/* (then 1/6 of each class, by seed, is the test part), also
///   inside one top folder; as a folder or as .tar, .tar.gz, .tar.xz, .zip
/// - a packed file written by write_packed
/// Classes are in alphabetical order (CIFAR: the official order; IDX: that of the labels). Images
/// in the order of their names.
/// @throws Error with path and reason if it is none of these, a class is empty, or nothing can be
/// read
LoadedData load_data(const std::string& source, Part part, const LoadOptions& options);

/// Both parts of a data set at one size, in one file that loads by copying (safetensors inside).
void write_packed(const std::filesystem::path& path, const LoadedData& train,
                  const LoadedData& test);

/// Which training images are for what; indices into the training part, each increasing.
struct Splits {
  std::vector<std::int64_t> train, tune, certify;
};

/// Cuts off, per class, 4 % for tune and 8 % for certify, chosen by seed and by each image's hash
/// alone: the split of an image does not depend on the order of files. Exact copies of one image
/// (equal hashes) stay together.
/// @throws Error if a class has too few images (fewer than 25) to give one to tune
Splits split_training(const Dataset& dataset, std::uint64_t seed);

struct ChannelStatistics {
  std::array<float, 3> mean, std;
};
/// Mean and standard deviation per channel of values in [0, 1], over the images given.
ChannelStatistics channel_statistics(const Dataset& dataset, std::span<const std::int64_t> indices);

}  // namespace offramp
