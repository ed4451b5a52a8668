#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model_file.h"
#include "workflow/progress.h"

namespace offramp::workflow {

/// A model was to be measured on images that it was trained on.
class TrainedOnImages : public Error {
 public:
  using Error::Error;
};

/// How data are loaded for a model: at its size.
LoadOptions load_options(const ModelFile& model);

/// Checks that a model and data speak of the same classes in the same order.
/// @throws Error naming the first difference
void check_same_classes(const ModelFile& model, const Dataset& data);

/// Indices of all images.
std::vector<std::int64_t> every_image(const Dataset& data);

/// Indices of the images that a model's provenance lists in `hashes` (sorted).
std::vector<std::int64_t> images_listed(const Dataset& data,
                                        const std::vector<std::uint64_t>& hashes);

/// Refuses to measure a model on what it was trained on. @param path  of the model
/// @throws TrainedOnImages "<path>: …" with the number of such images among `indices`, naming the
/// first
void refuse_trained_images(const std::filesystem::path& path, const ModelFile& model,
                           const Dataset& data, const std::vector<std::int64_t>& indices);

/// `indices` without the images the model was trained on.
std::vector<std::int64_t> without_trained_images(const ModelFile& model, const Dataset& data,
                                                 const std::vector<std::int64_t>& indices);

/// The images of a test part that a model may be tested on.
/// @param skip_trained  leave out images that it was trained on instead of refusing
/// @throws Error "<path>: …" if classes differ or none is left; TrainedOnImages
std::vector<std::int64_t> images_to_test(const std::filesystem::path& path, const ModelFile& model,
                                         const LoadedData& data, bool skip_trained);

/// Images that a model lists, in a data set.
struct ListedImages {
  std::vector<std::int64_t> indices;
  std::int64_t missing = 0;  ///< different images that are listed, but not there
};

/// The images that a model keeps for a purpose, none of them trained on.
/// @param path  of the model  @param hashes  that the model lists, sorted
/// @param part  "tune" or "certify"  @param source  of the data, for messages
/// @throws Error if the model lists none, or the data hold none; TrainedOnImages
ListedImages find_listed(const std::filesystem::path& path, const ModelFile& model,
                         const Dataset& data, const std::vector<std::uint64_t>& hashes,
                         const std::string& part, const std::string& source);

/// One reading of test images.
struct TestRead {
  std::string command;  ///< what read them, for people
  std::string data;
  std::int64_t images = 0;
};

/// Appends a line to test_reads.jsonl beside the model, so that it stays visible how often the test
/// images were looked at. @throws Error if it cannot be written
void log_test_read(const std::filesystem::path& model, const TestRead& read);
/// The same; where it cannot be written, that is remarked and the work goes on.
void log_test_read(const std::filesystem::path& model, const TestRead& read,
                   const Progress& progress);

}  // namespace offramp::workflow
