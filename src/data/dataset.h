#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "image/image.h"

namespace offramp::data {

/// The pixels of one image: a view of memory that a data set holds, or memory of its own. Movable.
class ImagePixels {
 public:
  explicit ImagePixels(std::span<const std::uint8_t> view) : view_(view) {}
  explicit ImagePixels(std::vector<std::uint8_t> own) : own_(std::move(own)), view_(own_) {}
  // The view stays valid in a move, because a moved vector keeps its memory.
  ImagePixels(ImagePixels&&) = default;
  ImagePixels& operator=(ImagePixels&&) = default;
  ImagePixels(const ImagePixels&) = delete;
  ImagePixels& operator=(const ImagePixels&) = delete;

  const std::uint8_t* data() const { return view_.data(); }
  std::size_t size() const { return view_.size(); }
  const std::uint8_t* begin() const { return view_.data(); }
  const std::uint8_t* end() const { return view_.data() + view_.size(); }
  std::uint8_t operator[](std::size_t i) const { return view_[i]; }

 private:
  std::vector<std::uint8_t> own_;
  std::span<const std::uint8_t> view_;
};

/// The pixels of images that lie in files instead of memory. All calls are safe from any thread.
class ImageStore {
 public:
  virtual ~ImageStore() = default;
  /// Returns the pixels [height, width, 3] of an image. @throws Error if it cannot be decoded
  virtual ImagePixels image(std::int64_t index) const = 0;
  /// Begins to read these images from the disk.
  virtual void will_need(std::span<const std::int64_t> indices) const = 0;
  /// Whether image() decodes or resizes, which takes much longer than copying pixels.
  virtual bool decodes() const = 0;
  /// Returns the same images in another size, if they can be made from more than image() gives;
  /// else null. They become that size in the same way (core::Fit).
  virtual std::shared_ptr<const ImageStore> with_size(int width, int height) const {
    static_cast<void>(width), static_cast<void>(height);
    return nullptr;
  }
};

/// Labelled images of one size. Their pixels are in memory or in files.
struct Dataset {
  int height = 0;
  int width = 0;
  std::vector<std::string> classes;
  std::vector<std::uint8_t> pixels;  ///< [N, height, width, 3]; empty if they are in `stored`
  std::shared_ptr<const ImageStore> stored;  ///< null if the pixels are in memory
  std::vector<std::int64_t> labels;          ///< [N] in 0 … classes - 1
  /// [N] the file each image was read from: "train/cat/0001.jpg", or "data_batch_1.bin#7" for image
  /// 7 of a file that holds many.
  std::vector<std::string> names;
  std::vector<std::uint64_t> hashes;  ///< [N] image_hash of each image

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  /// Returns an image, which is valid as long as the data set is.
  ImagePixels image(std::int64_t index) const {
    if (stored) return stored->image(index);
    const auto bytes = static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
    return ImagePixels(std::span(pixels).subspan(static_cast<std::size_t>(index) * bytes, bytes));
  }
  /// Begins to read these images from the disk if they are there.
  void will_need(std::span<const std::int64_t> indices) const {
    if (stored) stored->will_need(indices);
  }
};

/// Copies the pixels of all images into one array [N, height, width, 3].
/// @throws Error if it does not fit in the memory that this process may use
std::vector<std::uint8_t> copy_pixels(const Dataset& dataset);

/// Returns the first 64 bits (big-endian) of the SHA-256 of width, height (both as 32-bit
/// little-endian) and pixels. The hash identifies an image in a model's provenance, whichever file
/// the image came from. It is computed on the decoded, upright image before any resizing, so it
/// does not depend on the input size of a network.
std::uint64_t image_hash(int width, int height, std::span<const std::uint8_t> rgb);

/// An image that was left out of a data set, and why.
struct SkippedImage {
  std::string name;
  std::string reason;
};

enum class Part { train, test };

struct LoadOptions {
  /// Size of the network's input in pixels. 0: the size of the images if all have the same size;
  /// otherwise load_data throws a UsageError that asks for a size.
  int height = 0;
  int width = 0;
  core::Fit fit = core::Fit::squeeze;
  /// Seed of synthetic images, and of the train/test split of a folder that is not split into
  /// parts.
  std::uint64_t seed = 1;
  int synthetic_train = 8000, synthetic_test = 2000;  ///< number of synthetic images
  /// The classes of a model. If the data set has the same ones in another order, as folders sort
  /// them by name, its labels become those of this order. Empty: as the data set has them.
  std::vector<std::string> classes = {};
};

/// The smallest and the largest width and height of the images before resizing, in pixels.
struct SizeRange {
  int min_width = 0, max_width = 0;
  int min_height = 0, max_height = 0;

  void add(int width, int height);
  bool operator==(const SizeRange&) const = default;
};

struct LoadedData {
  Dataset dataset;
  /// The kind of source, for output and provenance: "CIFAR-10 (binary)", "IDX", "image folder",
  /// "synthetic, seed 1".
  std::string source;
  std::vector<SkippedImage> skipped;  ///< damaged or misplaced images, which were left out
  SizeRange sizes;
};

/// Loads the training or the test images of a source:
/// - "synthetic", "synthetic:SEED" or "synthetic:SEED:CLASSES" (CLASSES: 2 to 20, default 10)
/// - a folder or .tar.gz of the official CIFAR-10 or CIFAR-100 binary archive
/// - a folder or archive of the four IDX files of MNIST, Fashion-MNIST or a data set like them
/// - a tree of image files, as a folder or as .tar, .tar.gz, .tar.xz or .zip, also inside one top
///   folder. Either train/<class>/* and test/<class>/* (test alone is enough for Part::test; val,
///   valid or validation is used if there is no test), or <class>/*, of which 1/6 of each class,
///   chosen by seed, is the test part
/// - a packed file written by write_packed, or a set of such files (shards) that are called
///   name-00000-of-00008 and so on: the path of one of them or of their folder. Their pixels stay
///   in the files, which are mapped into memory, so processes share them
/// Classes are in alphabetical order (CIFAR: the official order; IDX: the order of the labels).
/// Images are in the order of their names.
/// @throws Error with path and reason if the source is none of these, a class is empty, or no image
/// can be read
LoadedData load_data(const std::string& source, Part part, const LoadOptions& options);

/// Writes both parts of a data set to one file in the safetensors format. Loading it decodes
/// nothing and leaves the pixels in the file. @throws Error if the two parts differ in image size
/// or classes
void write_packed(const std::filesystem::path& path, const LoadedData& train,
                  const LoadedData& test);

/// The use of each training image: increasing indices into the training part.
struct Splits {
  std::vector<std::int64_t> train, tune, certify;
};

/// Sets aside 4 % of each class for tune and 8 % for certify. Seed and image hash alone decide
/// where an image goes, so the split does not depend on the order of files. Exact copies of one
/// image (equal hashes) stay together.
/// @throws Error if a class has fewer than 25 images, of which 4 % is one image
Splits split_training(const Dataset& dataset, std::uint64_t seed);

struct ChannelStatistics {
  std::array<float, 3> mean, std;
};
/// Computes mean and standard deviation of each channel over the images given, with pixel values
/// scaled to [0, 1]. @throws Error if `indices` is empty
ChannelStatistics channel_statistics(const Dataset& dataset, std::span<const std::int64_t> indices);

}  // namespace offramp::data
