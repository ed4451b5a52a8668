#pragma once

#include <memory>
#include <vector>

#include "runtime/layout.h"
#include "runtime/lower.h"
#include "runtime/operation.h"

namespace offramp {

/// How many images, and how many threads may share the work.
struct Extent {
  int batch = 1;
  int threads = 1;
};

// Operations executed by runtime/kernels.h. Layouts are of one image; src and dst have equal
// elements unless dst is features, which are f32, or it says otherwise. dst of an image has src's
// format.

std::shared_ptr<const Operation> make_max_pool(const Layout& src, const Layout& dst,
                                               const MaxPool& pool, Extent extent);
std::shared_ptr<const Operation> make_avg_pool(const Layout& src, const Layout& dst,
                                               const AvgPool& pool, Extent extent);
std::shared_ptr<const Operation> make_global_average(const Layout& src, Extent extent);
std::shared_ptr<const Operation> make_pyramid_pool(const Layout& src,
                                                   const SpatialPyramidPool& pool, Extent extent);
std::shared_ptr<const Operation> make_flatten(const Layout& src, Extent extent);
std::shared_ptr<const Operation> make_linear(const FusedLinear& linear, Extent extent);
/// Of one or more tensors of one layout, not quantised. dst may be the first src.
std::shared_ptr<const Operation> make_add(const Layout& layout, Activation activation,
                                          Extent extent);
/// Of one or more quantised tensors of dst's shape and format. dst may be the first src.
std::shared_ptr<const Operation> make_quantised_add(const std::vector<Element>& srcs,
                                                    const Layout& dst, Activation activation,
                                                    Extent extent);
/// dst may be src. Where src is quantised so is dst, perhaps with other elements.
std::shared_ptr<const Operation> make_scale(const Layout& src, const Layout& dst,
                                            const Scale& scale, Extent extent);
/// Images of one format side by side. All but the last must fill their last block of channels.
std::shared_ptr<const Operation> make_concat(const std::vector<Layout>& srcs, const Layout& dst,
                                             Extent extent);
std::shared_ptr<const Operation> make_copy(const Layout& layout, Extent extent);

/// Whether make_concat can join these as they are.
bool can_concat(const std::vector<Layout>& srcs);

}  // namespace offramp
