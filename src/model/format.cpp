#include "model/format.h"

#include <array>

#include "core/error.h"
#include "model/json_reader.h"
#include "model/model_file.h"
#include "model/policy_json.h"

namespace offramp::model {
namespace {

constexpr std::array kKnownFeatures = {kFeatureInt8, kFeatureHarmReference};
constexpr std::size_t kMaxFeatures = 1000;

void check_features(const std::string& text) {
  for (const std::string& feature : read_texts(parse_json(text), "requires", kMaxFeatures)) {
    bool known = false;
    for (const std::string_view ours : kKnownFeatures) known |= ours == feature;
    if (!known)
      throw Error(
          fmt::format("requires {}, which this version does not know", core::quote(feature)));
  }
}

}  // namespace

bool is_model(const core::Metadata& metadata) { return metadata.contains("format_version"); }

int read_format_version(const core::Metadata& metadata) {
  const std::string& text = metadata.at("format_version");
  int version = kModelFormatVersion;
  while (text != std::to_string(version))
    if (--version < kOldestModelFormatVersion)
      throw Error(fmt::format(
          "format_version: got {}, this program reads {} and {}; the file may come from a newer "
          "version of it",
          core::quote(text), kOldestModelFormatVersion, kModelFormatVersion));
  if (version >= 2) {
    const auto features = metadata.find("requires");
    if (features == metadata.end()) throw Error("requires: missing in the metadata");
    check_features(features->second);
  }
  return version;
}

std::vector<std::string> required_features(const ModelFile& model) {
  std::vector<std::string> features;
  if (!model.weight_scales.empty() || (model.deployment && model.deployment->precision == "int8"))
    features.emplace_back(kFeatureInt8);
  if (model.policy && names_harm_reference(*model.policy))
    features.emplace_back(kFeatureHarmReference);
  return features;
}

}  // namespace offramp::model
