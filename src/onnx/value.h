#pragma once

#include <variant>

#include "onnx/constant.h"
#include "onnx/network_draft.h"

namespace offramp::onnx {

/// The output of a node that could not be read. Nodes that read it are not reported again.
struct Unread {};

/// The kinds of an ONNX value while a model is read.
using Value = std::variant<Unread, Constant, NetworkTensor>;

}  // namespace offramp::onnx
