#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/safetensors.h"

namespace offramp::model {

struct ModelFile;

/// The version of the format that this program writes, and the oldest that it reads.
inline constexpr int kModelFormatVersion = 2;
inline constexpr int kOldestModelFormatVersion = 1;

/// A feature that this program knows. A file of version 2 lists the features that a reader must
/// know, so that a reader refuses a file which it would otherwise silently misread. Operations,
/// criteria and ensembles are not listed as features, because every reader refuses unknown ones
/// anyway.
inline constexpr std::string_view kFeatureInt8 = "int8";  ///< 8-bit weights with scales and ranges
/// A policy with an ensemble whose guarantee names what its harm is counted against.
inline constexpr std::string_view kFeatureHarmReference = "harm-reference";

/// Whether the metadata belong to a model file rather than to bare weights.
bool is_model(const core::Metadata& metadata);

/// Returns the version of a model file after checking that this program can read it.
/// @throws Error for a version that this program does not read or a required feature that it does
/// not know: "requires "learned-criterion", which this version does not know"
int read_format_version(const core::Metadata& metadata);

/// Returns the features that a reader must know to read this model correctly.
std::vector<std::string> required_features(const ModelFile& model);

}  // namespace offramp::model
