#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "runtime/layout.h"
#include "runtime/lower.h"
#include "runtime/operation.h"

namespace offramp::runtime {

/// The number of images in a batch and the number of threads that share the work.
struct WorkSize {
  int batch = 1;
  int threads = 1;
  /// An operation that reads fewer bytes runs on one thread, because starting others takes longer.
  /// Tests let small ones share their work.
  std::size_t bytes_for_threads = std::size_t{1} << 17;
};

// Operations that are executed by the functions of runtime/kernels.h. Layouts are for one image.
// Features are f32. If dst is an image, it has the format of src and, unless a comment says
// otherwise, the elements of src. An activation that does not keep zeros needs a layout without a
// partial block.

std::shared_ptr<const Operation> make_max_pool(const Layout& src, const Layout& dst,
                                               const graph::MaxPool& pool, WorkSize work_size);
std::shared_ptr<const Operation> make_avg_pool(const Layout& src, const Layout& dst,
                                               const graph::AvgPool& pool, WorkSize work_size);
std::shared_ptr<const Operation> make_adaptive_average(const Layout& src, const Layout& dst,
                                                       WorkSize work_size);
std::shared_ptr<const Operation> make_global_average(const Layout& src, WorkSize work_size);
std::shared_ptr<const Operation> make_pyramid_pool(const Layout& src,
                                                   const graph::SpatialPyramidPool& pool,
                                                   WorkSize work_size);
std::shared_ptr<const Operation> make_flatten(const Layout& src, WorkSize work_size);
std::shared_ptr<const Operation> make_linear(const FusedLinear& linear, WorkSize work_size);
/// Adds one or more tensors of one layout that is not quantised. dst may be the first src.
std::shared_ptr<const Operation> make_add(const Layout& layout, const Activation& activation,
                                          WorkSize work_size);
/// Adds one or more quantised tensors of dst's shape and format. dst may be the first src.
std::shared_ptr<const Operation> make_quantised_add(const std::vector<Element>& srcs,
                                                    const Layout& dst, const Activation& activation,
                                                    WorkSize work_size);
/// Multiplies two tensors of dst's shape and format. dst may be the first. If dst is quantised, so
/// are both.
/// @param srcs  [2]
std::shared_ptr<const Operation> make_multiply(const std::vector<Element>& srcs, const Layout& dst,
                                               WorkSize work_size);
/// Multiplies each channel of an image, the first src, by a factor, the second. dst may be the
/// first. If it is quantised, so is dst, but the elements of the two may differ.
std::shared_ptr<const Operation> make_multiply_channels(const Layout& src, const Layout& dst,
                                                        WorkSize work_size);
/// Normalises over channels. dst may be src. If src is quantised, so is dst, but the elements of
/// the two may differ.
std::shared_ptr<const Operation> make_layer_norm(const Layout& src, const Layout& dst,
                                                 const FusedLayerNorm& norm, WorkSize work_size);
std::shared_ptr<const Operation> make_channel_shuffle(const Layout& layout,
                                                      const graph::ChannelShuffle& shuffle,
                                                      WorkSize work_size);
/// Copies a range of channels. REQUIRES: can_slice(src, slice).
std::shared_ptr<const Operation> make_slice(const Layout& src, const Layout& dst,
                                            const graph::Slice& slice, WorkSize work_size);
/// Multiplies and shifts each channel. dst may be src. If src is quantised, so is dst, but the
/// elements of the two may differ.
std::shared_ptr<const Operation> make_scale(const Layout& src, const Layout& dst,
                                            const Scale& scale, WorkSize work_size);
/// Concatenates images of one format along the channels. REQUIRES: can_concat(srcs).
std::shared_ptr<const Operation> make_concat(const std::vector<Layout>& srcs, const Layout& dst,
                                             WorkSize work_size);
std::shared_ptr<const Operation> make_copy(const Layout& layout, WorkSize work_size);

/// Whether make_concat takes these layouts: all have one format and equal elements, and the
/// channels of all but the last are a multiple of the format's block.
bool can_concat(const std::vector<Layout>& srcs);

/// Whether make_slice takes this layout: the range begins at a multiple of the format's block, or
/// channels are last.
bool can_slice(const Layout& src, const graph::Slice& slice);

}  // namespace offramp::runtime
