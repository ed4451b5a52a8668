#include "runtime/native_operations.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "core/error.h"
#include "runtime/kernels.h"
#include "runtime/memory_plan.h"

namespace offramp::runtime {
namespace {

using kernels::Clamp;
using kernels::Grid;
using kernels::Rows;

// An operation that reads fewer bytes runs on one thread, because starting others takes longer.
constexpr std::size_t kMinBytesForThreads = std::size_t{1} << 17;
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
  NativeOperation(Body body, int threads)
      : body_(std::move(body)), threads_(body_.bytes < kMinBytesForThreads ? 1 : threads) {}

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
  return std::make_shared<NativeOperation>(std::move(body), work_size.threads);
}

Clamp clamp_of(Activation activation) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  switch (activation) {
    case Activation::none:
      return {-kInfinity, kInfinity};
    case Activation::relu:
      return {0, kInfinity};
    case Activation::relu6:
      return {0, 6};
  }
  return {};
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

/// Converts bounds on values to bounds on quantised elements with this scale.
Clamp in_units(Clamp clamp, float scale) { return {clamp.low / scale, clamp.high / scale}; }

/// The body of an operation whose items are rows of images: item image * height + row. It calls
/// kernel(src, dst, rows of dst) once for each image that has rows among the given items.
template <typename T, typename Kernel>
Body by_rows(const Layout& src, const Layout& dst, WorkSize work_size, const Kernel& kernel) {
  const std::int64_t height = dst.grid().height;
  const std::int64_t src_size = src.elements(), dst_size = dst.elements();
  return {work_size.batch * height, batch_bytes(src, work_size),
          [=](const Buffers& buffers, Rows items) {
            for (std::int64_t at = items.begin; at < items.end;) {
              const std::int64_t image = at / height;
              const std::int64_t end = std::min(items.end, (image + 1) * height);
              kernel(reinterpret_cast<const T*>(buffers.srcs[0]) + image * src_size,
                     reinterpret_cast<T*>(buffers.dst) + image * dst_size,
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

/// Makes a pool over windows of an image. @param kernel  kernels::max_pool or kernels::avg_pool
template <typename Pool, typename Kernel>
std::shared_ptr<const Operation> make_pool(const Layout& src, const Layout& dst, const Pool& pool,
                                           WorkSize work_size, const Kernel& kernel) {
  OFFRAMP_ASSERT(src.format == dst.format && src.element == dst.element);
  const kernels::Window window{pool.kernel.h, pool.stride.h, pool.padding.top};
  return with_type(src.element, [&](auto type) {
    using T = decltype(type);
    const auto pool_rows = [=, from = src.grid(), to = dst.grid()](const T* x, T* y, Rows rows) {
      kernel(from, x, to, y, window, rows);
    };
    return make_native(by_rows<T>(src, dst, work_size, pool_rows), work_size);
  });
}

}  // namespace

std::shared_ptr<const Operation> make_max_pool(const Layout& src, const Layout& dst,
                                               const graph::MaxPool& pool, WorkSize work_size) {
  return make_pool(src, dst, pool, work_size,
                   [](const auto&... arguments) { kernels::max_pool(arguments...); });
}

std::shared_ptr<const Operation> make_avg_pool(const Layout& src, const Layout& dst,
                                               const graph::AvgPool& pool, WorkSize work_size) {
  return make_pool(src, dst, pool, work_size,
                   [](const auto&... arguments) { kernels::avg_pool(arguments...); });
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
  const std::int64_t in = static_cast<std::int64_t>(linear.weights->size()) / out;
  Body body{work_size.batch, linear.weights->size() * sizeof(float),
            [=, weights = linear.weights, bias = linear.bias, clamp = clamp_of(linear.activation)](
                const Buffers& buffers, Rows images) {
              kernels::linear(reinterpret_cast<const float*>(buffers.srcs[0]), weights->data(),
                              bias.data(), in, out, clamp, reinterpret_cast<float*>(buffers.dst),
                              images);
            },
            0};
  return make_native(std::move(body), work_size);
}

std::shared_ptr<const Operation> make_add(const Layout& layout, Activation activation,
                                          WorkSize work_size) {
  const std::int64_t count = layout.elements() * work_size.batch;
  OFFRAMP_ASSERT(!layout.element.is_quantised());
  const auto add = [&](auto type) {
    using T = decltype(type);
    Body body{(count + kElementsPerItem - 1) / kElementsPerItem, batch_bytes(layout, work_size),
              [=, clamp = clamp_of(activation)](const Buffers& buffers, Rows items) {
                kernels::add(buffers.srcs.data(), buffers.srcs.size(),
                             reinterpret_cast<T*>(buffers.dst), elements_of(items, count), clamp);
              },
              0};
    return make_native(std::move(body), work_size);
  };
  return layout.element.dtype == core::DType::bf16 ? add(std::uint16_t{}) : add(float{});
}

std::shared_ptr<const Operation> make_quantised_add(const std::vector<Element>& srcs,
                                                    const Layout& dst, Activation activation,
                                                    WorkSize work_size) {
  const std::int64_t count = dst.elements() * work_size.batch;
  return with_quantised_type(dst.element.dtype, [&](auto type) {
    using T = decltype(type);
    const float scale = dst.element.scale;
    std::vector<kernels::Addend> addends;
    for (const Element& src : srcs)
      addends.push_back({src.dtype == core::DType::i8, src.scale / scale});
    Body body{
        (count + kElementsPerItem - 1) / kElementsPerItem, batch_bytes(dst, work_size),
        [=, clamp = in_units(clamp_of(activation), scale)](const Buffers& buffers, Rows items) {
          kernels::add(buffers.srcs.data(), addends.data(), addends.size(),
                       reinterpret_cast<T*>(buffers.dst), elements_of(items, count), clamp);
        },
        0};
    return make_native(std::move(body), work_size);
  });
}

std::shared_ptr<const Operation> make_scale(const Layout& src, const Layout& dst,
                                            const Scale& scale, WorkSize work_size) {
  const Grid grid = src.grid();
  const float unit = dst.element.scale;
  // The factors and shifts of the padding are zero, so that the padding of the last block stays
  // zero.
  std::vector<float> factors = scale.scale, shifts = scale.shift;
  for (float& factor : factors) factor *= src.element.scale / unit;
  for (float& shift : shifts) shift /= unit;
  factors.resize(static_cast<std::size_t>(grid.blocks * grid.block), 0.0f);
  shifts.resize(factors.size(), 0.0f);
  const auto body_of = [&](auto from, auto to) {
    using From = decltype(from);
    using To = decltype(to);
    Body body{work_size.batch, batch_bytes(src, work_size),
              [=, size = src.elements(), clamp = in_units(clamp_of(scale.activation), unit)](
                  const Buffers& buffers, Rows images) {
                for (std::int64_t n = images.begin; n < images.end; ++n)
                  kernels::scale(grid, reinterpret_cast<const From*>(buffers.srcs[0]) + n * size,
                                 factors.data(), shifts.data(), clamp,
                                 reinterpret_cast<To*>(buffers.dst) + n * size);
              },
              0};
    return make_native(std::move(body), work_size);
  };
  if (src.element.is_quantised())
    return with_quantised_type(src.element.dtype, [&](auto from) {
      return with_quantised_type(dst.element.dtype, [&](auto to) { return body_of(from, to); });
    });
  return src.element.dtype == core::DType::bf16 ? body_of(std::uint16_t{}, std::uint16_t{})
                                                : body_of(float{}, float{});
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
