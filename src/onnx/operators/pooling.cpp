#include <array>

#include "core/error.h"
#include "core/tensor.h"
#include "onnx/operators.h"
#include "onnx/operators/window.h"

// Pools, and the operator Pad, which the convolution or pool after it takes over.
namespace offramp::onnx {
namespace {

void output_global(Call& call, graph::Op op, int image) {
  const int pooled = call.network().append(std::move(op), {image});
  const AxisView view = AxisView::of(call.network().shape(pooled));
  call.output(NetworkTensor{pooled, view.with_dim(1, {}).with_dim(2, {})});
}

int whole_image(Call& call) {
  const int image = as_image(call.network(), call.tensor(0));
  if (call.network().shape(image).size() != 3 || call.network().as<Pad>(image) != nullptr)
    throw Error("its input must be [N,C,H,W]");
  return image;
}

void read_global_average_pool(Call& call) {
  output_global(call, graph::GlobalAvgPool{}, whole_image(call));
}

/// The largest value of each channel is a pyramid pool with the level 1 alone.
void read_global_max_pool(Call& call) {
  output_global(call, graph::SpatialPyramidPool{.levels = {1}}, whole_image(call));
}

void read_max_pool(Call& call) {
  const bool ceil_mode = call.attributes().integer("ceil_mode", 0) != 0;
  call.attributes().expect("storage_order", 0);
  PaddedImage image = without_pad(call, call.tensor(0));
  const graph::Shape& in = call.network().shape(image.draft);
  const Window window = read_window(call, read_kernel(call), in);
  // A max pool's own padding has the value minus infinity, which changes nothing where no value of
  // the image is below that of the Pad.
  if (image.padded && !(image.value < -1e30) &&
      !(image.value == 0 && call.network()[image.draft].is_nonnegative))
    throw Error(
        fmt::format("the Pad before it has the value {}, which could be a maximum", image.value));
  const graph::MaxPool pool{.kernel = window.kernel,
                            .stride = window.stride,
                            .padding = sum_of(window.padding, image.padding),
                            .dilation = window.dilation,
                            .ceil_mode = ceil_mode};
  call.output_plain(call.network().append(pool, {image.draft}));
}

void read_average_pool(Call& call) {
  const bool ceil_mode = call.attributes().integer("ceil_mode", 0) != 0;
  const bool include = call.attributes().integer("count_include_pad", 0) != 0;
  PaddedImage image = without_pad(call, call.tensor(0));
  const graph::Shape in = call.network().shape(image.draft);
  const Window window = read_window(call, read_kernel(call), in);
  if (window.dilation != graph::Extent(1)) throw Error("dilations are not supported");
  const bool own_padding = window.padding != graph::Padding(0);
  if (image.padded && (image.value != 0 || (own_padding && !include)))
    throw Error("the Pad before it is not supported together with its own padding");
  const graph::Padding padding = sum_of(window.padding, image.padding);
  if (padding == graph::Padding(0) && window.kernel.h == in[1] && window.kernel.w == in[2])
    return output_global(call, graph::GlobalAvgPool{}, image.draft);
  const graph::AvgPool pool{.kernel = window.kernel,
                            .stride = window.stride,
                            .padding = padding,
                            .ceil_mode = ceil_mode,
                            .count_include_pad = include || image.padded || !own_padding};
  call.output_plain(call.network().append(pool, {image.draft}));
}

/// Pad: [begin of each dimension, end of each dimension], an attribute up to opset 10.
void read_pad(Call& call) {
  if (const std::string mode = call.attributes().text("mode", "constant"); mode != "constant")
    throw Error(fmt::format("the mode {} is not supported, only constant", core::quote(mode)));
  std::vector<std::int64_t> pads;
  double value = 0;
  if (call.attributes().opset() < 11) {
    pads = call.attributes().integers("pads");
    value = call.attributes().number("value", 0);
  } else {
    pads = call.constant(1).integers();
    if (call.has_input(2)) value = call.constant(2).scalar();
  }
  const NetworkTensor& input = call.tensor(0);
  const std::size_t rank = input.view.rank() + 1;
  if (call.has_input(3)) {  // opset 18: the axes that are padded
    const Constant::Integers axes = call.constant(3).integers();
    if (pads.size() != 2 * axes.size()) throw Error("has another number of pads than of axes");
    std::vector<std::int64_t> all(2 * rank, 0);
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::size_t axis = checked_axis(axes[i], rank);
      all[axis] = pads[i];
      all[axis + rank] = pads[i + axes.size()];
    }
    pads = std::move(all);
  }
  if (pads.size() != 2 * rank)
    throw Error(fmt::format("has {} pads for {} dimensions", pads.size(), rank));
  bool changes = false;
  for (const std::int64_t pad : pads) {
    if (pad < 0 || pad > 65'536) throw Error(fmt::format("the padding {} is not supported", pad));
    changes = changes || pad != 0;
  }
  if (!changes) return call.output(input);
  const int image = as_image(call.network(), input);
  const graph::Shape shape = call.network().shape(image);
  if (rank != 4 || shape.size() != 3 || pads[0] != 0 || pads[1] != 0 || pads[4] != 0 ||
      pads[5] != 0)
    throw Error("is supported for the rows and columns of [N,C,H,W] only");
  const Pad pad{.padding = {static_cast<int>(pads[2]), static_cast<int>(pads[3]),
                            static_cast<int>(pads[6]), static_cast<int>(pads[7])},
                .value = value};
  call.output_plain(call.network().append_piece(
      pad, image, {shape[0], shape[1] + pads[2] + pads[6], shape[2] + pads[3] + pads[7]}));
}

constexpr std::array kOperators = {
    Operator{.name = "MaxPool", .max_outputs = 2, .read = read_max_pool},
    Operator{.name = "AveragePool", .read = read_average_pool},
    Operator{.name = "GlobalAveragePool", .read = read_global_average_pool},
    Operator{.name = "GlobalMaxPool", .read = read_global_max_pool},
    Operator{.name = "Pad", .max_inputs = 4, .read = read_pad},
};

}  // namespace

std::span<const Operator> pooling_operators() { return kOperators; }

}  // namespace offramp::onnx
