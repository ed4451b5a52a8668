#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "model/model_file.h"

namespace offramp::cli {

/// How data are loaded for a model: at its size.
LoadOptions load_options(const ModelFile& model);

/// Checks that a model and data speak of the same classes in the same order.
/// @throws Error naming the first difference
void check_same_classes(const ModelFile& model, const Dataset& data);

/// Indices of the images that a model's provenance lists in `hashes` (sorted).
std::vector<std::int64_t> images_listed(const Dataset& data,
                                        const std::vector<std::uint64_t>& hashes);

/// Refuses to measure a model on what it was trained on.
/// @param advice  ends the message
/// @throws Error with the number of such images among `indices`, naming the first
void refuse_trained_images(const ModelFile& model, const Dataset& data,
                           const std::vector<std::int64_t>& indices,
                           std::string_view advice = " (--skip-trained leaves them out)");

/// `indices` without the images the model was trained on.
std::vector<std::int64_t> without_trained_images(const ModelFile& model, const Dataset& data,
                                                 const std::vector<std::int64_t>& indices);

/// One reading of test images.
struct TestRead {
  std::string command;
  std::string data;
  std::int64_t images = 0;
};

/// Appends a line to test_reads.jsonl beside the model, so that it stays visible how often the test
/// images were looked at. @throws Error if it cannot be written
void log_test_read(const std::filesystem::path& model, const TestRead& read);

}  // namespace offramp::cli
