#pragma once

#include <memory>
#include <vector>

#include "runtime/layout.h"
#include "runtime/lower.h"
#include "runtime/operation.h"

namespace offramp {

/// How many images, and how many threads may share the work.
struct Run {
  int batch = 1;
  int threads = 1;
};

// Operations executed by runtime/kernels.h. Layouts are of one image; src and dst have one type
// unless dst is features, which are f32. dst of an image has src's format.

std::shared_ptr<const Operation> make_max_pool(const Layout& src, const Layout& dst,
                                               const MaxPool& pool, Run run);
std::shared_ptr<const Operation> make_avg_pool(const Layout& src, const Layout& dst,
                                               const AvgPool& pool, Run run);
std::shared_ptr<const Operation> make_global_average(const Layout& src, Run run);
std::shared_ptr<const Operation> make_pyramid_pool(const Layout& src,
                                                   const SpatialPyramidPool& pool, Run run);
std::shared_ptr<const Operation> make_flatten(const Layout& src, Run run);
std::shared_ptr<const Operation> make_linear(const FusedLinear& linear, Run run);
/// Of one or more tensors of one layout. dst may be the first src.
std::shared_ptr<const Operation> make_add(const Layout& layout, Activation activation, Run run);
/// dst may be src.
std::shared_ptr<const Operation> make_scale(const Layout& layout, const Scale& scale, Run run);
/// Images of one format side by side. All but the last must fill their last block of channels.
std::shared_ptr<const Operation> make_concat(const std::vector<Layout>& srcs, const Layout& dst,
                                             Run run);
std::shared_ptr<const Operation> make_copy(const Layout& layout, Run run);

/// Whether make_concat can join these as they are.
bool can_concat(const std::vector<Layout>& srcs);

}  // namespace offramp
