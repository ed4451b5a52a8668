#pragma once

#include <cstddef>

namespace offramp::model {

/// The largest number of nodes of a graph in a model file. A ResNet of 1202 layers has about 4,500.
/// With this limit, reading a model spends less than a second on its nodes; compiling 3,300
/// convolutions of different shapes takes some seconds.
inline constexpr std::size_t kMaxGraphNodes = 10'000;

}  // namespace offramp::model
