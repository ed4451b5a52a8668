#include "onnx/operators/window.h"

#include <algorithm>

#include "core/error.h"
#include "core/tensor.h"

namespace offramp::onnx {
namespace {

// Larger values make no sense for images of at most 65,536 rows; sums of them fit into int.
constexpr std::int64_t kMaxSide = 65'536;

int small(std::int64_t value, std::int64_t low, std::string_view what) {
  if (value < low || value > kMaxSide)
    throw Error(fmt::format("the {} {} is out of range", what, value));
  return static_cast<int>(value);
}

graph::Extent read_extent(Call& call, std::string_view name, std::string_view what) {
  const auto values = call.attributes().integers(name);
  if (values.empty()) return 1;
  if (values.size() != 2)
    throw Error(fmt::format("has {} spatial dimensions, only 2 are supported", values.size()));
  return {small(values[0], 1, what), small(values[1], 1, what)};
}

/// The padding of auto_pad SAME: the output has ceil(size / stride) elements, and where the sum is
/// odd the additional one is at the end (SAME_UPPER) or at the beginning.
std::pair<int, int> same_padding(std::int64_t size, int kernel, int stride, int dilation,
                                 bool upper) {
  const std::int64_t outputs = (size + stride - 1) / stride;
  const std::int64_t total =
      std::max<std::int64_t>(0, (outputs - 1) * stride + graph::dilated(kernel, dilation) - size);
  const int less = small(total / 2, 0, "padding"), more = small(total - total / 2, 0, "padding");
  return upper ? std::pair{less, more} : std::pair{more, less};
}

}  // namespace

graph::Extent read_kernel(Call& call) {
  if (!call.attributes().has("kernel_shape")) throw Error("the attribute kernel_shape is missing");
  return read_extent(call, "kernel_shape", "kernel size");
}

Window read_window(Call& call, graph::Extent kernel, const graph::Shape& image) {
  Window window{.kernel = kernel,
                .stride = read_extent(call, "strides", "stride"),
                .dilation = read_extent(call, "dilations", "dilation"),
                .padding = {}};
  const std::string automatic = call.attributes().text("auto_pad", "NOTSET");
  const auto pads = call.attributes().integers("pads");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    const bool upper = automatic == "SAME_UPPER";
    const auto [top, bottom] =
        same_padding(image[1], kernel.h, window.stride.h, window.dilation.h, upper);
    const auto [left, right] =
        same_padding(image[2], kernel.w, window.stride.w, window.dilation.w, upper);
    window.padding = {top, left, bottom, right};
  } else if (automatic == "NOTSET") {
    if (!pads.empty() && pads.size() != 4)
      throw Error(fmt::format("has {} pads, expected 4", pads.size()));
    if (!pads.empty())
      window.padding = {small(pads[0], 0, "padding"), small(pads[1], 0, "padding"),
                        small(pads[2], 0, "padding"), small(pads[3], 0, "padding")};
  } else if (automatic != "VALID") {
    throw Error(fmt::format("auto_pad {} is not known", core::quote(automatic)));
  }
  return window;
}

PaddedImage without_pad(Call& call, const NetworkTensor& tensor) {
  PaddedImage image;
  image.draft = as_image(call.network(), tensor);
  if (call.network().shape(image.draft).size() != 3)
    throw Error(fmt::format("its input must be [N,C,H,W], got [N,{}]",
                            fmt::join(tensor.view.sizes(), ",")));
  if (const auto* pad = call.network().as<Pad>(image.draft)) {
    image.padding = pad->padding;
    image.value = pad->value;
    image.padded = true;
    image.draft = call.network()[image.draft].inputs[0];
  }
  return image;
}

graph::Padding sum_of(const graph::Padding& a, const graph::Padding& b) {
  return {small(std::int64_t{a.top} + b.top, 0, "padding"),
          small(std::int64_t{a.left} + b.left, 0, "padding"),
          small(std::int64_t{a.bottom} + b.bottom, 0, "padding"),
          small(std::int64_t{a.right} + b.right, 0, "padding")};
}

}  // namespace offramp::onnx
