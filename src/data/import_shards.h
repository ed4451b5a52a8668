#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "data/dataset.h"

namespace offramp::data {

struct ShardOptions {
  LoadOptions load;
  std::int64_t images_per_shard = 8192;
  /// Store the files of the images instead of their pixels; each is decoded and resized whenever it
  /// is used. `load.fit` must be squeeze then, because the fit is chosen whenever the images are
  /// loaded.
  bool keep_files = false;
  /// Called on the calling thread after each shard with the number of images that are done, read or
  /// skipped, of both parts.
  std::function<void(std::int64_t done, std::int64_t total)> progress;
};

/// The result of an import in shards.
struct ImportedShards {
  std::int64_t train = 0, test = 0, skipped = 0;  ///< images
  int shards = 0;
  int kept = 0;  ///< shards that an earlier import of the same images had written
};

/// Packs a folder with train and test folders (or tars with samples as WebDataset has) into shards
/// NAME-00000-of-00008.offramp in the folder NAME. The images of one shard at a time are in memory;
/// they are decoded on all cores. After an interrupted import, the next one keeps the shards that
/// were written, if they are of the same files (names and sizes) and options.
/// @throws Error as load_data; if the source has no parts, because their choice needs all images;
/// if the folder holds other shards; if no image of a class can be read
ImportedShards import_shards(const std::string& source, const std::filesystem::path& folder,
                             const ShardOptions& options);

}  // namespace offramp::data
