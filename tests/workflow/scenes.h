#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/dataset.h"
#include "model/model_file.h"

namespace offramp::test {

inline constexpr int kSceneSide = 4;  ///< width and height of the images, in pixels
inline constexpr std::size_t kSceneTrain = 50, kSceneTune = 400, kSceneCertify = 800;

/// The content of an image. Exit k reads channel k: a mean below 0 is classified as "cat", one
/// above 0 as "dog". In images of dogs, the last channel is dark at the top and light at the
/// bottom; only perfect_model() reads this.
struct Scene {
  std::array<float, 3> means{};  ///< mean of each channel, in [-1, 1]
  std::int64_t label = 0;
};

/// Half of the scenes are easy. The others are often classified wrongly by exit 1, less often by
/// exit 2 and seldom by exit 3.
Scene scene(std::uint64_t index);

data::LoadedData empty_scenes();
void add(data::Dataset& data, const Scene& shown);
/// The training images. The last 800 are the certify part, the 400 before them the tune part.
data::LoadedData training_scenes();
/// The same, but exits 1 and 2 classify the images of the certify part wrongly.
data::LoadedData deceptive_scenes();
data::LoadedData test_scenes();

/// The provenance of a model that lists these images in its parts.
model::DataProvenance parts_of(const data::Dataset& data);

/// A network of three segments, each one identity convolution. Exit k reads channel k.
model::ModelFile three_exit_model();
/// A model that classifies every image correctly, by the shading of the last channel.
model::ModelFile perfect_model();

}  // namespace offramp::test
