#pragma once

#include <cstdint>

#include "graph/graph.h"

namespace offramp {

// What a graph from a file may ask for. Far beyond any classifier, and small enough that no size
// computed from them overflows 63 bits.
inline constexpr std::int64_t kMaxChannels = 65536;
inline constexpr std::int64_t kMaxSide = 16384;
inline constexpr std::int64_t kMaxClasses = 65536;
inline constexpr std::int64_t kMaxKernel = 64;
inline constexpr std::int64_t kMaxFeatures = std::int64_t{1} << 24;
inline constexpr std::size_t kMaxSegments = 10'000;
inline constexpr std::size_t kMaxNodes = 100'000;
inline constexpr std::size_t kMaxInputs = 1'000;
inline constexpr std::int64_t kMaxTensorElements = std::int64_t{1} << 28;
inline constexpr std::int64_t kMaxWeightElements = std::int64_t{1} << 31;
inline constexpr double kMaxMacs = 1e15;

/// Refuses a graph whose tensors, weights or MACs exceed the limits, before anything computes with
/// its sizes. Attributes must already be in range. It follows sizes only as far as they make sense:
/// what does not fit together is left for infer_shapes to explain.
/// @throws Error naming the node
void check_limits(const Graph& graph);

}  // namespace offramp
