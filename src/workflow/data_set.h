#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace offramp::workflow {

/// Both parts of a data set at one size.
struct DataParts {
  LoadedData train, test;

  /// Images of both that could not be used.
  std::vector<SkippedImage> skipped() const;
};

/// Reads a data set and writes it as one packed file.
/// @throws UsageError "output: …" if that is what is read; Error
DataParts import_data(const std::string& source, const LoadOptions& options,
                      const std::filesystem::path& output);

struct ClassCount {
  std::string name;
  std::int64_t train = 0, test = 0;
};

/// What a data set holds.
struct DataSummary {
  DataParts parts;
  bool one_size = true;  ///< the images have one size, or one was asked for
  SizeRange sizes;       ///< as stored, of both parts
  std::vector<ClassCount> classes;
  ChannelStatistics statistics;  ///< of the training images
};

/// Where the images have several sizes and none is asked for, they are loaded at 64x64.
DataSummary summarise_data(const std::string& source, const LoadOptions& options);

/// Writes a PNG with examples of each class of the training images.
void write_contact_sheet(const DataSummary& summary, const std::filesystem::path& output);

struct ExportOptions {
  std::string source;
  LoadOptions load = {};
  Part part = Part::test;
  std::filesystem::path folder;
  int per_class = 10;           ///< images of each class, the first ones
  std::string corruption = {};  ///< "contrast:3", see parse_corruption; empty: as they are
};

struct Exported {
  std::int64_t images = 0;
  std::size_t classes = 0;
};

/// Writes images as PNG files, in a folder for each class.
/// @throws UsageError "corruption: …"; Error if a class cannot be a folder's name
Exported export_images(const ExportOptions& options);

}  // namespace offramp::workflow
