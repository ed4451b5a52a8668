#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model_file.h"
#include "policy/chosen_policy.h"

namespace offramp::test {

/// A model of small_resnet() with random weights (seed 1), without a policy.
/// @param classes  the names of the 10 classes; empty: "class 0" to "class 9"
model::ModelFile small_model(std::vector<std::string> classes = {});

/// A policy that never stops early, for at most half the cost, with a certificate: harm ≤ 0.05 with
/// probability ≥ 0.9 on 1,000 images, for the kernels of this machine.
policy::ChosenPolicy certified_policy(const std::string& precision = "f32");

/// Writes an image of a data set as PNG and returns the path.
std::string write_png(const std::filesystem::path& path, const data::Dataset& images,
                      std::int64_t index);

/// Parses a text with one JSON value per line.
std::vector<nlohmann::json> json_lines(const std::string& text);

}  // namespace offramp::test
