#include "runtime/native_operations.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <utility>

#include "core/error.h"
#include "runtime/kernels.h"
#include "runtime/memory_plan.h"

namespace offramp::runtime {
namespace {

using kernels::Grid;
using kernels::Rows;
using kernels::Taps;

// The number of elements that make up one item of an element-wise operation.
constexpr std::int64_t kElementsPerItem = 4096;

/// Work on the items [0, items), which are disjoint images, rows or ranges of elements.
struct Body {
  std::int64_t items = 0;
  std::size_t bytes = 0;  ///< number of bytes that all items read
  std::function<void(const Buffers& buffers, Rows items)> run;
  std::size_t scratch_bytes = 0;
};

class NativeOperation : public Operation {
 public:
  NativeOperation(Body body, WorkSize work_size)
      : body_(std::move(body)),
        threads_(body_.bytes < work_size.bytes_for_threads ? 1 : work_size.threads) {}

  std::size_t scratch_bytes() const override { return body_.scratch_bytes; }
  std::string implementation() const override { return "offramp"; }
  std::unique_ptr<BoundOperation> bind(const Buffers& buffers, const dnnl::stream&) const override {
    return std::make_unique<Bound>(body_, threads_, buffers);
  }

 private:
  class Bound : public BoundOperation {
   public:
    Bound(const Body& body, int threads, const Buffers& buffers)
        : body_(body), threads_(threads), buffers_(buffers) {}

    void run() override {
      if (threads_ == 1) return body_.run(buffers_, {0, body_.items});
#pragma omp parallel for num_threads(threads_) schedule(static)
      for (int i = 0; i < threads_; ++i)
        body_.run(buffers_, {body_.items * i / threads_, body_.items * (i + 1) / threads_});
    }

   private:
    const Body& body_;  // owned by the operation, which the compiled network keeps
    int threads_;
    Buffers buffers_;
  };

  Body body_;
  int threads_;
};

std::shared_ptr<const Operation> make_native(Body body, WorkSize work_size) {
  return std::make_shared<NativeOperation>(std::move(body), work_size);
}

std::size_t batch_bytes(const Layout& layout, WorkSize work_size) {
  return layout.bytes() * static_cast<std::size_t>(work_size.batch);
}

/// Calls body(T{}) with the C++ type T of quantised elements.
template <typename F>
auto with_quantised_type(core::DType dtype, const F& body) {
  OFFRAMP_ASSERT(dtype == core::DType::u8 || dtype == core::DType::i8);
  return dtype == core::DType::u8 ? body(std::uint8_t{}) : body(std::int8_t{});
}

/// Calls body(T{}) with the C++ type T of a tensor's elements.
template <typename F>
auto with_type(const Element& element, const F& body) {
  if (element.is_quantised()) return with_quantised_type(element.dtype, body);
  OFFRAMP_ASSERT(element.dtype == core::DType::f32 || element.dtype == core::DType::bf16);
  return element.dtype == core::DType::bf16 ? body(std::uint16_t{}) : body(float{});
}

void multiply(float* values, std::int64_t count, float factor) {
  if (factor == 1) return;
  for (std::int64_t i = 0; i < count; ++i) values[i] *= factor;
}

/// The unit in which the values before an activation are computed if dst has this scale. Bounds can
/// be converted to any unit; other functions need the values themselves.
float unit_before(const Activation& activation, float scale) {
  return activation.is_clamp() ? scale : 1;
}
/// Converts an activation to one from values in unit_before() to quantised elements.
Activation in_units(Activation activation, float scale) {
  if (activation.is_clamp())
    return {activation.kind, activation.a / scale, activation.b / scale, 1};
  activation.factor = 1 / scale;
  return activation;
}

/// The body of an operation whose items are rows of images: item image * height + row. It calls
/// kernel(src, dst, rows of dst) once for each image that has rows among the given items.
template <typename From, typename To, typename Kernel>
Body by_rows(const Layout& src, const Layout& dst, WorkSize work_size, const Kernel& kernel) {
  const std::int64_t height = dst.grid().height;
  const std::int64_t src_size = src.elements(), dst_size = dst.elements();
  return {work_size.batch * height, batch_bytes(src, work_size),
          [=](const Buffers& buffers, Rows items) {
            for (std::int64_t at = items.begin; at < items.end;) {
              const std::int64_t image = at / height;
              const std::int64_t end = std::min(items.end, (image + 1) * height);
              kernel(reinterpret_cast<const From*>(buffers.srcs[0]) + image * src_size,
                     reinterpret_cast<To*>(buffers.dst) + image * dst_size,
                     Rows{at - image * height, end - image * height});
              at = end;
            }
          },
          0};
}

/// The body of an operation from an image to features. It calls kernel(src, dst) for each image.
template <typename T, typename Kernel>
Body by_images(const Layout& src, std::int64_t features, WorkSize work_size, const Kernel& kernel) {
  const std::int64_t size = src.elements();
  return {work_size.batch, batch_bytes(src, work_size),
          [=, scale = src.element.scale](const Buffers& buffers, Rows images) {
            for (std::int64_t n = images.begin; n < images.end; ++n) {
              float* dst = reinterpret_cast<float*>(buffers.dst) + n * features;
              kernel(reinterpret_cast<const T*>(buffers.srcs[0]) + n * size, dst);
              multiply(dst, features, scale);
            }
          },
          0};
}

Rows elements_of(Rows items, std::int64_t count) {
  return {items.begin * kElementsPerItem, std::min(items.end * kElementsPerItem, count)};
}

/// Calls body(From{}, To{}) with the C++ types of the elements of src and dst. If src is quantised,
/// so is dst; else both have the same elements.
template <typename F>
auto with_types(const Layout& src, const Layout& dst, const F& body) {
  if (src.element.is_quantised())
    return with_quantised_type(src.element.dtype, [&](auto from) {
      return with_quantised_type(dst.element.dtype, [&](auto to) { return body(from, to); });
    });
  OFFRAMP_ASSERT(src.element == dst.element);
  return src.element.dtype == core::DType::bf16 ? body(std::uint16_t{}, std::uint16_t{})
                                                : body(float{}, float{});
}

/// Makes an operation that reads and writes images of the same format, row by row.
/// @param kernel  called with src, dst and rows of dst
template <typename Kernel>
std::shared_ptr<const Operation> make_rows(const Layout& src, const Layout& dst, WorkSize work_size,
                                           const Kernel& kernel) {
  OFFRAMP_ASSERT(src.format == dst.format);
  return with_types(src, dst, [&](auto from, auto to) {
    return make_native(by_rows<decltype(from), decltype(to)>(src, dst, work_size, kernel),
                       work_size);
  });
}

/// Makes a pool over windows of an image. @param kernel  kernels::max_pool or kernels::avg_pool
template <typename Kernel>
std::shared_ptr<const Operation> make_pool(const Layout& src, const Layout& dst,
                                           const kernels::Windows& windows, WorkSize work_size,
                                           const Kernel& kernel) {
  OFFRAMP_ASSERT(src.format == dst.format && src.element == dst.element);
  return with_type(src.element, [&](auto type) {
    using T = decltype(type);
    const auto pool_rows = [=, from = src.grid(), to = dst.grid()](const T* x, T* y, Rows rows) {
      kernel(from, x, to, y, windows, rows);
    };
    return make_native(by_rows<T, T>(src, dst, work_size, pool_rows), work_size);
  });
}

/// The windows along one side of an image.
struct Side {
  std::int64_t size, windows;
  int kernel, stride, dilation, before, after;
};

/// @param counts_padding  whether padding counts for a mean
std::vector<Taps> taps_of(const Side& side, bool counts_padding) {
  std::vector<Taps> taps;
  for (std::int64_t i = 0; i < side.windows; ++i) {
    const std::int64_t start = i * side.stride - side.before, step = side.dilation;
    const std::int64_t end = start + graph::dilated(side.kernel, side.dilation);
    // The first element that is not in the padding.
    const std::int64_t begin = start >= 0 ? start : start + (-start + step - 1) / step * step;
    const std::int64_t counted = counts_padding ? std::min(end, side.size + side.after) - start
                                                : std::min(end, side.size) - begin;
    taps.push_back({begin, std::min(end, side.size), step, static_cast<float>(counted)});
  }
  return taps;
}

template <typename Pool>
kernels::Windows windows_of(const Layout& src, const Layout& dst, const Pool& pool,
                            const graph::Extent& dilation, bool counts_padding) {
  const graph::Padding& padding = pool.padding;
  return {taps_of({src.shape[1], dst.shape[1], pool.kernel.h, pool.stride.h, dilation.h,
                   padding.top, padding.bottom},
                  counts_padding),
          taps_of({src.shape[2], dst.shape[2], pool.kernel.w, pool.stride.w, dilation.w,
                   padding.left, padding.right},
                  counts_padding)};
}

/// The bins of a grid along one side: bin i covers [floor(i size / bins), ceil((i + 1) size /
/// bins)).
std::vector<Taps> bins_of(std::int64_t size, std::int64_t bins) {
  std::vector<Taps> taps;
  for (std::int64_t i = 0; i < bins; ++i) {
    const std::int64_t begin = i * size / bins, end = ((i + 1) * size + bins - 1) / bins;
    taps.push_back({begin, end, 1, static_cast<float>(end - begin)});
  }
  return taps;
}

const auto kAverage = [](const auto&... arguments) { kernels::avg_pool(arguments...); };

}  // namespace

std::shared_ptr<const Operation> make_max_pool(const Layout& src, const Layout& dst,
                                               const graph::MaxPool& pool, WorkSize work_size) {
  return make_pool(src, dst, windows_of(src, dst, pool, pool.dilation, false), work_size,
                   [](const auto&... arguments) { kernels::max_pool(arguments...); });
}

std::shared_ptr<const Operation> make_avg_pool(const Layout& src, const Layout& dst,
                                               const graph::AvgPool& pool, WorkSize work_size) {
  return make_pool(src, dst, windows_of(src, dst, pool, 1, pool.count_include_pad), work_size,
                   kAverage);
}

std::shared_ptr<const Operation> make_adaptive_average(const Layout& src, const Layout& dst,
                                                       WorkSize work_size) {
  return make_pool(src, dst,
                   {bins_of(src.shape[1], dst.shape[1]), bins_of(src.shape[2], dst.shape[2])},
                   work_size, kAverage);
}

std::shared_ptr<const Operation> make_global_average(const Layout& src, WorkSize work_size) {
  return with_type(src.element, [&](auto type) {
    using T = decltype(type);
    const auto kernel = [grid = src.grid()](const T* x, float* y) {
      kernels::global_average(grid, x, y);
    };
    return make_native(by_images<T>(src, src.shape[0], work_size, kernel), work_size);
  });
}

std::shared_ptr<const Operation> make_pyramid_pool(const Layout& src,
                                                   const graph::SpatialPyramidPool& pool,
                                                   WorkSize work_size) {
  const kernels::Pyramid pyramid(src.shape[1], src.shape[2], pool.levels);
  // Each image has separate scratch memory, because different threads may process the images.
  const std::size_t scratch =
      aligned(static_cast<std::size_t>(pyramid.scratch_floats()) * sizeof(float));
  const std::int64_t features = src.shape[0] * pyramid.bins();
  return with_type(src.element, [&](auto type) {
    using T = decltype(type);
    Body body{
        work_size.batch, batch_bytes(src, work_size),
        [=, grid = src.grid(), size = src.elements(), scale = src.element.scale](
            const Buffers& buffers, Rows images) {
          for (std::int64_t n = images.begin; n < images.end; ++n) {
            float* dst = reinterpret_cast<float*>(buffers.dst) + n * features;
            kernels::pyramid_pool(
                pyramid, grid, reinterpret_cast<const T*>(buffers.srcs[0]) + n * size, dst,
                reinterpret_cast<float*>(buffers.scratch + static_cast<std::size_t>(n) * scratch));
            multiply(dst, features, scale);
          }
        },
        scratch * static_cast<std::size_t>(work_size.batch)};
    return make_native(std::move(body), work_size);
  });
}

std::shared_ptr<const Operation> make_flatten(const Layout& src, WorkSize work_size) {
  return with_type(src.element, [&](auto type) {
    using T = decltype(type);
    const auto kernel = [grid = src.grid()](const T* x, float* y) { kernels::flatten(grid, x, y); };
    return make_native(by_images<T>(src, core::element_count(src.shape), work_size, kernel),
                       work_size);
  });
}

std::shared_ptr<const Operation> make_linear(const FusedLinear& linear, WorkSize work_size) {
  const std::int64_t out = linear.out_features;
  const auto count = static_cast<std::int64_t>(linear.weights ? linear.weights->size()
                                                              : linear.bf16_weights->size());
  const std::int64_t in = count / out;
  // The items are outputs, so that a single image runs on all threads, and each of them reads its
  // own part of the weights.
  const std::int64_t items = (out + kernels::kOutputsAtOnce - 1) / kernels::kOutputsAtOnce;
  // Each thread has its own memory for the rows of bf16 weights.
  const std::size_t rows_bytes =
      linear.weights
          ? 0
          : aligned(static_cast<std::size_t>(kernels::kOutputsAtOnce * in) * sizeof(float));
  Body body{items, linear.weight_bytes(),
            [=, threads = std::int64_t{work_size.threads}, images = std::int64_t{work_size.batch}](
                const Buffers& buffers, Rows groups) {
              if (groups.begin == groups.end) return;
              const auto* src = reinterpret_cast<const float*>(buffers.srcs[0]);
              auto* dst = reinterpret_cast<float*>(buffers.dst);
              if (linear.weights)
                return kernels::linear(src, linear.weights->data(), linear.bias.data(), in, out,
                                       linear.activation, dst, images, groups);
              // The number of the thread whose items begin here.
              const auto thread =
                  static_cast<std::size_t>((groups.begin * threads + items - 1) / items);
              kernels::linear(src, linear.bf16_weights->data(), linear.bias.data(), in, out,
                              linear.activation, dst, images, groups,
                              reinterpret_cast<float*>(buffers.scratch + thread * rows_bytes));
            },
            rows_bytes * static_cast<std::size_t>(work_size.threads)};
  return make_native(std::move(body), work_size);
}

namespace {

/// Makes an operation whose items are kElementsPerItem elements of a batch of images.
/// @param run  called with the buffers and a range of elements
template <typename Run>
std::shared_ptr<const Operation> make_elementwise(const Layout& dst, WorkSize work_size,
                                                  const Run& run) {
  const std::int64_t count = dst.elements() * work_size.batch;
  return make_native(
      {(count + kElementsPerItem - 1) / kElementsPerItem, batch_bytes(dst, work_size),
       [=](const Buffers& buffers, Rows items) { run(buffers, elements_of(items, count)); }, 0},
      work_size);
}

}  // namespace

std::shared_ptr<const Operation> make_add(const Layout& layout, const Activation& activation,
                                          WorkSize work_size) {
  OFFRAMP_ASSERT(!layout.element.is_quantised());
  return with_type(layout.element, [&](auto type) -> std::shared_ptr<const Operation> {
    using T = decltype(type);
    if constexpr (sizeof(T) > 1)
      return make_elementwise(layout, work_size, [=](const Buffers& buffers, Rows elements) {
        kernels::add(buffers.srcs.data(), buffers.srcs.size(), reinterpret_cast<T*>(buffers.dst),
                     elements, activation);
      });
    else
      return nullptr;
  });
}

std::shared_ptr<const Operation> make_quantised_add(const std::vector<Element>& srcs,
                                                    const Layout& dst, const Activation& activation,
                                                    WorkSize work_size) {
  return with_quantised_type(dst.element.dtype, [&](auto type) {
    using T = decltype(type);
    const float scale = dst.element.scale, unit = unit_before(activation, scale);
    std::vector<kernels::Addend> addends;
    for (const Element& src : srcs)
      addends.push_back({src.dtype == core::DType::i8, src.scale / unit});
    return make_elementwise(
        dst, work_size,
        [=, converted = in_units(activation, scale)](const Buffers& buffers, Rows elements) {
          kernels::add(buffers.srcs.data(), addends.data(), addends.size(),
                       reinterpret_cast<T*>(buffers.dst), elements, converted);
        });
  });
}

std::shared_ptr<const Operation> make_multiply(const std::vector<Element>& srcs, const Layout& dst,
                                               WorkSize work_size) {
  OFFRAMP_ASSERT(srcs.size() == 2);
  return with_type(dst.element, [&](auto type) {
    using T = decltype(type);
    const std::array<kernels::Addend, 2> factors = {
        {{srcs[0].dtype == core::DType::i8, srcs[0].scale / dst.element.scale},
         {srcs[1].dtype == core::DType::i8, srcs[1].scale}}};
    return make_elementwise(dst, work_size, [=](const Buffers& buffers, Rows elements) {
      T* out = reinterpret_cast<T*>(buffers.dst);
      if constexpr (sizeof(T) == 1)
        kernels::multiply(buffers.srcs[0], buffers.srcs[1], factors.data(), out, elements);
      else
        kernels::multiply(buffers.srcs[0], buffers.srcs[1], out, elements);
    });
  });
}

std::shared_ptr<const Operation> make_multiply_channels(const Layout& src, const Layout& dst,
                                                        WorkSize work_size) {
  const Grid grid = src.grid();
  const std::int64_t size = src.elements(), height = grid.height;
  const auto made = [&](auto from, auto to) {
    using From = decltype(from);
    using To = decltype(to);
    return make_native(
        {work_size.batch * height, batch_bytes(src, work_size),
         [=, unit = src.element.scale / dst.element.scale](const Buffers& buffers, Rows items) {
           for (std::int64_t at = items.begin; at < items.end;) {
             const std::int64_t image = at / height,
                                end = std::min(items.end, (image + 1) * height);
             kernels::multiply_channels(
                 grid, reinterpret_cast<const From*>(buffers.srcs[0]) + image * size,
                 reinterpret_cast<const float*>(buffers.srcs[1]) + image * grid.channels, unit,
                 reinterpret_cast<To*>(buffers.dst) + image * size,
                 Rows{at - image * height, end - image * height});
             at = end;
           }
         },
         0},
        work_size);
  };
  return with_types(src, dst, made);
}

std::shared_ptr<const Operation> make_scale(const Layout& src, const Layout& dst,
                                            const Scale& scale, WorkSize work_size) {
  const Grid grid = src.grid();
  const float unit = unit_before(scale.activation, dst.element.scale);
  // The factors and shifts of the padding are zero, so that the padding of the last block stays
  // zero.
  std::vector<float> factors = scale.scale, shifts = scale.shift;
  for (float& factor : factors) factor *= src.element.scale / unit;
  for (float& shift : shifts) shift /= unit;
  factors.resize(static_cast<std::size_t>(grid.blocks * grid.block), 0.0f);
  shifts.resize(factors.size(), 0.0f);
  return make_rows(src, dst, work_size,
                   [=, activation = in_units(scale.activation, dst.element.scale)](
                       const auto* x, auto* y, Rows rows) {
                     kernels::scale(grid, x, factors.data(), shifts.data(), activation, y, rows);
                   });
}

std::shared_ptr<const Operation> make_layer_norm(const Layout& src, const Layout& dst,
                                                 const FusedLayerNorm& norm, WorkSize work_size) {
  std::vector<float> weight = norm.weight, bias = norm.bias;
  for (float& value : weight) value /= dst.element.scale;
  for (float& value : bias) value /= dst.element.scale;
  const float eps = norm.eps / (src.element.scale * src.element.scale);
  return make_rows(src, dst, work_size, [=, grid = src.grid()](const auto* x, auto* y, Rows rows) {
    kernels::layer_norm(grid, x, {weight.data(), bias.data(), eps}, y, rows);
  });
}

std::shared_ptr<const Operation> make_channel_shuffle(const Layout& layout,
                                                      const graph::ChannelShuffle& shuffle,
                                                      WorkSize work_size) {
  const auto made = [&](auto type) {
    using T = decltype(type);
    const auto kernel = [grid = layout.grid(), groups = std::int64_t{shuffle.groups}](
                            const T* x, T* y, Rows rows) {
      kernels::shuffle_channels(grid, x, groups, y, rows);
    };
    return make_native(by_rows<T, T>(layout, layout, work_size, kernel), work_size);
  };
  switch (core::size_of(layout.element.dtype)) {
    case 1:
      return made(std::uint8_t{});
    case 2:
      return made(std::uint16_t{});
    default:
      return made(float{});
  }
}

bool can_slice(const Layout& src, const graph::Slice& slice) {
  return src.format == Format::channels_last || slice.begin % src.grid().block == 0;
}

std::shared_ptr<const Operation> make_slice(const Layout& src, const Layout& dst,
                                            const graph::Slice& slice, WorkSize work_size) {
  OFFRAMP_ASSERT(can_slice(src, slice) && src.format == dst.format && src.element == dst.element);
  // An item is one pixel if channels are last, else one image: in both cases its part of src is one
  // contiguous block.
  const Grid from = src.grid(), to = dst.grid();
  const bool channels_last = src.format == Format::channels_last;
  const std::int64_t pieces = channels_last ? from.height * from.width : 1;
  const std::size_t size = core::size_of(src.element.dtype);
  const auto per_piece = static_cast<std::size_t>(pieces);
  const std::size_t src_bytes = src.bytes() / per_piece, dst_bytes = dst.bytes() / per_piece;
  const std::size_t offset =
      size * static_cast<std::size_t>(channels_last ? slice.begin
                                                    : slice.begin / from.block * from.block_stride);
  // The last block of dst may have channels of src where its padding must be zero.
  const auto used = static_cast<std::size_t>(to.channels - (to.blocks - 1) * to.block) * size;
  const auto block = static_cast<std::size_t>(to.block) * size;
  const auto last_block = static_cast<std::size_t>((to.blocks - 1) * to.block_stride) * size;
  Body body{work_size.batch * pieces, batch_bytes(dst, work_size),
            [=, places = static_cast<std::size_t>(to.height * to.width)](const Buffers& buffers,
                                                                         Rows items) {
              for (std::int64_t i = items.begin; i < items.end; ++i) {
                const auto item = static_cast<std::size_t>(i);
                std::byte* out = buffers.dst + item * dst_bytes;
                std::memcpy(out, buffers.srcs[0] + item * src_bytes + offset, dst_bytes);
                if (used == block) continue;
                for (std::size_t place = 0; place < places; ++place)
                  std::memset(out + last_block + place * block + used, 0, block - used);
              }
            },
            0};
  return make_native(std::move(body), work_size);
}

bool can_concat(const std::vector<Layout>& srcs) {
  for (std::size_t i = 0; i < srcs.size(); ++i) {
    const Grid grid = srcs[i].grid();
    if (srcs[i].format != srcs[0].format || srcs[i].element != srcs[0].element) return false;
    if (i + 1 < srcs.size() && grid.channels % grid.block != 0) return false;
  }
  return true;
}

std::shared_ptr<const Operation> make_concat(const std::vector<Layout>& srcs, const Layout& dst,
                                             WorkSize work_size) {
  OFFRAMP_ASSERT(can_concat(srcs) && srcs[0].format == dst.format);
  // An item is one pixel if channels are last, else one image: in both cases its part of each src
  // is one contiguous block.
  const Grid grid = dst.grid();
  const std::int64_t pieces = dst.format == Format::channels_last ? grid.height * grid.width : 1;
  std::vector<std::size_t> bytes;
  for (const Layout& src : srcs) bytes.push_back(src.bytes() / static_cast<std::size_t>(pieces));
  Body body{work_size.batch * pieces, batch_bytes(dst, work_size),
            [=, total = dst.bytes() / static_cast<std::size_t>(pieces)](const Buffers& buffers,
                                                                        Rows items) {
              std::size_t offset = 0;
              for (std::size_t k = 0; k < bytes.size(); ++k) {
                for (std::int64_t i = items.begin; i < items.end; ++i) {
                  const auto item = static_cast<std::size_t>(i);
                  std::memcpy(buffers.dst + item * total + offset,
                              buffers.srcs[k] + item * bytes[k], bytes[k]);
                }
                offset += bytes[k];
              }
            },
            0};
  return make_native(std::move(body), work_size);
}

std::shared_ptr<const Operation> make_copy(const Layout& layout, WorkSize work_size) {
  Body body{work_size.batch, batch_bytes(layout, work_size),
            [bytes = layout.bytes()](const Buffers& buffers, Rows images) {
              const auto begin = static_cast<std::size_t>(images.begin) * bytes;
              std::memcpy(buffers.dst + begin, buffers.srcs[0] + begin,
                          static_cast<std::size_t>(images.end - images.begin) * bytes);
            },
            0};
  return make_native(std::move(body), work_size);
}

}  // namespace offramp::runtime
