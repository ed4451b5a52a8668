#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/safetensors.h"

namespace offramp {

struct ModelFile;

/// The version that is written, and the oldest that is read.
inline constexpr int kModelFormatVersion = 2;
inline constexpr int kOldestModelFormatVersion = 1;

/// The features that this program knows. A file of version 2 names those it requires, so that a
/// reader refuses what it would otherwise get wrong without noticing. Operations, criteria and
/// ensembles need no name here: every reader refuses one that it does not know.
inline constexpr std::string_view kFeatureInt8 = "int8";  ///< 8-bit weights with scales and ranges

/// True if the metadata are a model's rather than those of bare weights.
bool is_model(const Metadata& metadata);

/// The version of a model file whose features are all known.
/// @throws Error "requires "learned-criterion", which this version does not know", and for a
/// version that is not read
int read_format_version(const Metadata& metadata);

/// The features without which a reader gets this model wrong.
std::vector<std::string> required_features(const ModelFile& model);

}  // namespace offramp
