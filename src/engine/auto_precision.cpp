#include "engine/auto_precision.h"

#include <algorithm>

#include "core/error.h"

namespace offramp::engine {

AutoPrecision auto_precision(const model::ModelFile& model,
                             const std::function<core::DType(const std::string&)>& stored) {
  if (model.deployment) {
    if (!model::is_within_bounds(*model.deployment)) return {runtime::Precision::f32, true};
    return {runtime::precision_from_string(model.deployment->precision)};
  }
  if (model.policy && model.policy->guarantee) {
    try {
      return {runtime::precision_from_string(model.policy->guarantee->precision)};
    } catch (const Error&) {
      // The precision is unknown to this version, so the certificate cannot hold here.
    }
  }
  const bool all_bf16 =
      std::ranges::all_of(graph::parameters(model.graph), [&](const graph::Parameter& parameter) {
        return parameter.role != graph::ParameterRole::conv_weight ||
               stored(parameter.name) == core::DType::bf16;
      });
  return {all_bf16 ? runtime::Precision::bf16 : runtime::Precision::f32};
}

}  // namespace offramp::engine
