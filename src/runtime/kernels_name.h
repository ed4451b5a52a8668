#pragma once

#include <string>

#include "graph/graph.h"
#include "runtime/precision.h"

namespace offramp::runtime {

/// The library, version and instruction set that the runtime computes with on this CPU, for example
/// "onednn 2.6.3 avx512_core_bf16". With different kernels the last bits of logits may differ, so a
/// certificate names those that it was computed with. The instruction set is the widest that the
/// CPU has and the environment variable ONEDNN_MAX_CPU_ISA allows; our own loops do not follow that
/// variable, and give the same bits on every CPU with fused multiply-adds (AVX2).
std::string kernels_name();

/// The arithmetic of a precision whose logits do not depend on the kernels; empty for f32 and bf16,
/// whose sums are rounded in an order that depends on them. In int8, sums are exact in 32 bits,
/// each is scaled and rounded once, and everything after a head's pooling is our own f32 code,
/// whose sums have a fixed order, so that every CPU with the instructions computes the same logits.
/// Its number changes whenever a change of the code changes logits.
std::string arithmetic_name(Precision precision);
/// The same for a network: empty also if it has operations within it that are computed in f32 by
/// code that depends on the instruction set, such as a sigmoid or a layer norm.
std::string arithmetic_name(Precision precision, const graph::Graph& graph);

}  // namespace offramp::runtime
