#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/dataset.h"
#include "model/model_file.h"

namespace offramp::test {

inline constexpr int kSceneSide = 4;  ///< of the images
inline constexpr std::size_t kSceneTrain = 50, kSceneTune = 400, kSceneCertify = 800;

/// What an image shows: exit k reads channel k, below 0 is "cat" and above "dog". The last channel
/// is dark at the top and light at the bottom of a dog, which only a reference model sees.
struct Scene {
  std::array<float, 3> means{};  ///< in [-1, 1]
  std::int64_t label = 0;
};

/// Half of the scenes are easy; the others deceive exit 1 often, exit 2 less, exit 3 seldom.
Scene scene(std::uint64_t index);

LoadedData empty_scenes();
void add(Dataset& data, const Scene& shown);
/// Training scenes, of which the last 800 are the certify part, after 400 to tune.
LoadedData training_scenes();
/// The same, but for other certify images, which exits 1 and 2 classify wrongly.
LoadedData trap_scenes();
LoadedData test_scenes();

/// The images' parts as a model lists them.
DataProvenance parts_of(const Dataset& data);

/// Three segments of one convolution that changes nothing; exit k reads channel k.
ModelFile three_eyed_model();
/// Classifies every image correctly: it sees how the last channel is shaded.
ModelFile all_seeing_model();

}  // namespace offramp::test
