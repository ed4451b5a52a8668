#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model_file.h"
#include "workflow/progress.h"

namespace offramp::workflow {

/// Thrown if a model would be evaluated on images that it was trained on.
class TrainedOnImages : public Error {
 public:
  using Error::Error;
};

/// The options to load data for a model: with the image size and the fit that it expects, and the
/// order of its classes.
data::LoadOptions load_options(const model::ModelFile& model);

/// Checks that a model and a data set have the same classes in the same order.
/// @throws Error that names the first difference
void check_same_classes(const model::ModelFile& model, const data::Dataset& data);

/// Indices of all images.
std::vector<std::int64_t> all_indices(const data::Dataset& data);

/// Indices of the images whose hash is in `hashes`.
/// @param hashes  sorted, as a model's provenance lists them
std::vector<std::int64_t> indices_of_listed(const data::Dataset& data,
                                            const std::vector<std::uint64_t>& hashes);

/// Checks that a model was not trained on the images that it is to be evaluated on.
/// @param path  path of the model @param indices  indices of the images in `data`
/// @throws TrainedOnImages "<path>: …" with the number of such images and the name of the first
void refuse_trained_images(const std::filesystem::path& path, const model::ModelFile& model,
                           const data::Dataset& data, const std::vector<std::int64_t>& indices);

/// Returns `indices` without the images that the model was trained on.
std::vector<std::int64_t> without_trained_images(const model::ModelFile& model,
                                                 const data::Dataset& data,
                                                 const std::vector<std::int64_t>& indices);

/// Indices of the images of a test part that a model may be tested on.
/// @param path  path of the model
/// @param skip_trained  true: images that it was trained on are left out; false: they are an error
/// @throws Error "<path>: …" if the classes differ or no image is left; TrainedOnImages
std::vector<std::int64_t> images_to_test(const std::filesystem::path& path,
                                         const model::ModelFile& model,
                                         const data::LoadedData& data, bool skip_trained);

/// The images of a data set that a model lists in one of its parts.
struct ListedImages {
  std::vector<std::int64_t> indices;
  std::int64_t missing = 0;  ///< number of different listed images that the data do not contain
};

/// Leaves out every image that has the same hash as an earlier one.
/// @return the number of images left out
std::int64_t leave_out_copies(const data::Dataset& data, std::vector<std::int64_t>& indices);

/// Finds the images of a model's tune or certify part in a data set.
/// @param path  path of the model @param hashes  hashes of the part's images, sorted
/// @param part  "tune" or "certify"  @param source  name of the data for messages
/// @throws Error if the model lists no image, or the data contain none of them; TrainedOnImages
ListedImages find_listed_images(const std::filesystem::path& path, const model::ModelFile& model,
                                const data::Dataset& data, const std::vector<std::uint64_t>& hashes,
                                const std::string& part, const std::string& source);

/// One use of test images, or of certify images by another command than `calibrate`.
struct TestRead {
  std::string command;  ///< the command that used them, for people
  std::string data;     ///< source
  std::int64_t images = 0;
  std::string part = "test";  ///< "test" or "certify"
};

/// Appends a line to test_reads.jsonl beside the model, as a record of how often these images
/// were used. @throws Error if the line cannot be written
void log_test_read(const std::filesystem::path& model, const TestRead& read);
/// The same, but if the line cannot be written, this is reported with Progress::remark.
void log_test_read(const std::filesystem::path& model, const TestRead& read,
                   const Progress& progress);

}  // namespace offramp::workflow
