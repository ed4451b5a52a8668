#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/preprocessing.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "image/image.h"

// Classes that give the images of packed files. Internal to src/data.
namespace offramp::data::detail {

/// Decodes an image. Images of more than 2^24 pixels are decoded one at a time, to bound the memory
/// that several threads need: for them `large` is locked, and the caller releases it when it has
/// freed the image.
image::Image decode_in_turn(std::span<const std::byte> bytes, std::unique_lock<std::mutex>& large);

/// The files of images (JPEG, PNG, WebP or BMP), one after the other without gaps.
struct ImageFiles {
  std::vector<std::uint8_t> bytes;
  std::vector<std::int64_t> ends;  ///< [N] where each file ends in `bytes`
};

/// The images of one part in mapped packed files, one file after the other.
class MappedImages : public ImageStore {
 public:
  void will_need(std::span<const std::int64_t> indices) const override;

 protected:
  /// Where an image is: a packed file, and the image in it.
  struct Location {
    std::size_t file = 0;
    std::int64_t index = 0;  ///< index of the image in that file
  };

  /// Adds a packed file with `count` images, whose bytes are somewhere in `bytes`.
  void add_images(const core::Safetensors& file, std::span<const std::byte> bytes,
                  std::int64_t count);
  Location location_of(std::int64_t index) const;
  std::span<const std::byte> bytes_of(std::size_t file) const { return files_.at(file).bytes; }
  /// The bytes of an image in its file.
  virtual std::span<const std::byte> stored_bytes(std::int64_t index) const = 0;

 private:
  struct File {
    core::Safetensors file;  // keeps the file mapped
    std::span<const std::byte> bytes;
  };
  std::vector<File> files_;
  std::vector<std::int64_t> ends_;  // [files] images of this part in it and the files before it
};

/// Images that are stored as pixels.
class MappedPixels : public MappedImages {
 public:
  /// @param pixels  U8 [N, height, width, 3], with the same height and width in all files
  void add(const core::Safetensors& file, const core::TensorView& pixels);
  ImagePixels image(std::int64_t index) const override;
  bool decodes() const override { return false; }

 private:
  std::span<const std::byte> stored_bytes(std::int64_t index) const override;

  std::size_t image_bytes_ = 0;
};

/// Images that are stored as the files that they came in. Each is decoded and resized whenever it
/// is accessed.
class MappedFiles : public MappedImages {
 public:
  /// @param fit  how images become that size
  MappedFiles(int width, int height, core::Fit fit) : width_(width), height_(height), fit_(fit) {}

  /// @param bytes  the images' files, one after the other
  /// @param ends  [N] where each ends in `bytes`, in increasing order
  void add(const core::Safetensors& file, std::span<const std::byte> bytes,
           std::vector<std::int64_t> ends);
  /// @throws Error if the image cannot be decoded
  ImagePixels image(std::int64_t index) const override;
  bool decodes() const override { return true; }
  std::shared_ptr<const ImageStore> with_size(int width, int height) const override;

 private:
  MappedFiles(const MappedFiles& other, int width, int height);

  std::span<const std::byte> stored_bytes(std::int64_t index) const override;

  int width_, height_;
  core::Fit fit_;
  std::vector<std::vector<std::int64_t>> ends_in_;  // [packed files] as `ends` of add()
  mutable std::mutex large_images_;
};

/// Resizes every image when it is accessed. @param fit  as in image::resize
std::shared_ptr<const ImageStore> resized_store(std::shared_ptr<const ImageStore> images,
                                                int from_width, int from_height, int width,
                                                int height, core::Fit fit);

}  // namespace offramp::data::detail
