#pragma once

#include "onnx/operators.h"

namespace offramp::onnx {

/// The window of a convolution or pool, from ONNX's attributes strides, pads, dilations and
/// auto_pad.
struct Window {
  graph::Extent kernel, stride, dilation;
  graph::Padding padding;
};

/// Reads the attributes of a window. @param image  {C, H, W} of the input, for auto_pad
/// @throws Error if it has not two dimensions or a value is out of range
Window read_window(Call& call, graph::Extent kernel, const graph::Shape& image);

/// The sides of a kernel, from the attribute kernel_shape. @throws Error unless there are two
graph::Extent read_kernel(Call& call);

/// An image whose padding by an operator Pad is to be taken over by the window that reads it.
struct PaddedImage {
  int draft = 0;
  graph::Padding padding;
  double value = 0;
  bool padded = false;
};
/// Returns the input of the window, without the Pad before it if there is one.
PaddedImage without_pad(Call& call, const NetworkTensor& tensor);

/// @throws Error if a sum is too large
graph::Padding sum_of(const graph::Padding& a, const graph::Padding& b);

}  // namespace offramp::onnx
