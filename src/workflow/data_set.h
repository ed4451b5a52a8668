#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace offramp::workflow {

/// The training and test part of a data set, with all images in one size.
struct DataParts {
  data::LoadedData train, test;

  /// The images of both parts that could not be read.
  std::vector<data::SkippedImage> skipped() const;
};

/// Reads a data set and writes it as one packed file.
/// @throws UsageError "output: …" if the output is the source itself; Error if reading or writing
/// fails
DataParts import_data(const std::string& source, const data::LoadOptions& options,
                      const std::filesystem::path& output);

/// The number of images of a class in each part.
struct ClassCount {
  std::string name;
  std::int64_t train = 0, test = 0;
};

/// The contents of a data set.
struct DataSummary {
  DataParts parts;
  bool one_size = true;   ///< all stored images have the same size, or a size was requested
  data::SizeRange sizes;  ///< sizes of the stored images of both parts
  std::vector<ClassCount> classes;
  data::ChannelStatistics statistics;  ///< statistics of the training images
};

/// Loads and describes a data set. If its images have several sizes and the options request none,
/// they are loaded at 64x64 pixels.
DataSummary summarise_data(const std::string& source, const data::LoadOptions& options);

/// Writes a PNG with examples of each class of the training images.
void write_contact_sheet(const DataSummary& summary, const std::filesystem::path& output);

struct ExportOptions {
  std::string source;
  data::LoadOptions load = {};
  data::Part part = data::Part::test;
  std::filesystem::path folder;
  int per_class = 10;           ///< number of images of each class; the first ones are taken
  std::string corruption = {};  ///< "contrast:3", see parse_corruption; empty: none
};

/// The number of images and classes that were written.
struct ExportResult {
  std::int64_t images = 0;
  std::size_t classes = 0;
};

/// Writes images as PNG files, in one folder for each class.
/// @throws UsageError "corruption: …"; Error if the name of a class cannot be the name of a folder
ExportResult export_images(const ExportOptions& options);

}  // namespace offramp::workflow
