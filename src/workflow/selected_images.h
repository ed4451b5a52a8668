#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/preprocessing.h"
#include "data/dataset.h"

namespace offramp::workflow {

/// Takes `count` of the indices at regular intervals, because sets may be sorted by class; all of
/// them if there are fewer.
std::vector<std::int64_t> take_evenly(const std::vector<std::int64_t>& indices, std::int64_t count);

/// Normalises the listed images of a data set for a network.
/// @param images  receives [n, channels, height, width]; what it held is replaced
void normalise_images(const data::Dataset& data, std::span<const std::int64_t> indices,
                      const core::Preprocessing& preprocessing, std::vector<float>& images);
/// The same, as a new array.
std::vector<float> normalised_images(const data::Dataset& data,
                                     std::span<const std::int64_t> indices,
                                     const core::Preprocessing& preprocessing);

}  // namespace offramp::workflow
