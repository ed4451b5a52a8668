#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/opened_model.h"
#include "model/model_file.h"
#include "policy/logits.h"
#include "workflow/open_model.h"

namespace offramp::workflow {

/// Images for a model file with the logits that the opened model computes for them.
/// @param indices  indices of the images in `data`, which have the size that the model expects
model::StoredImages images_to_store(engine::OpenedModel& model, const data::Dataset& data,
                                    const std::vector<std::int64_t>& indices);

/// The number of images that a policy harms or, for a certificate of "disagreement", that it
/// classifies differently from the last exit.
std::int64_t count_of(const policy::Guarantee& guarantee, const policy::Policy& policy,
                      const policy::LogitsView& certify);

struct ConvertOptions {
  std::filesystem::path model;  ///< an int8 deployment file whose certificate names kernels
  std::string data;             ///< the data set that it was certified on
  std::string images;           ///< data set from whose test part images are stored in the file
  std::filesystem::path out;    ///< the converted file; may be `model`
  RunOptions run = {};
};

/// The result of a conversion.
struct Converted {
  std::int64_t certify = 0;  ///< number of certify images
  std::int64_t counted = 0;  ///< number of these images that the certificate counts
  std::int64_t steps = 0;    ///< number of policies of the stored path that were counted too
  std::int64_t stored = 0;   ///< number of images that were stored
};

/// Makes the certificate of a model name an arithmetic instead of kernels. Policy, path, level and
/// the number of attempts stay; nothing is tested anew.
/// @param certify  logits of all certify images, computed with the arithmetic
/// @param images   images that the file stores from now on
/// @throws Error if there is no int8 certificate of kernels, the number of images differs, or a
/// count differs from the certificate's
Converted convert_certificate(model::ModelFile& model, const policy::LogitsView& certify,
                              model::StoredImages images);

/// The same for a file: computes the logits of the certify images here, in int8.
/// @throws Error also if this CPU has no instructions for int8 or images are missing
Converted convert_certificate(const ConvertOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
