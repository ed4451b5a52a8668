#include "engine/auto_precision.h"

#include <algorithm>

#include "core/error.h"

namespace offramp::engine {

AutoPrecision auto_precision(const ModelFile& model,
                             const std::function<DType(const std::string&)>& stored) {
  if (model.deployment) {
    if (!is_within_bounds(*model.deployment)) return {Precision::f32, true};
    return {precision_from_string(model.deployment->precision)};
  }
  if (model.policy && model.policy->guarantee) {
    try {
      return {precision_from_string(model.policy->guarantee->precision)};
    } catch (const Error&) {
      // The precision is unknown to this version, so the certificate cannot hold here.
    }
  }
  const bool all_bf16 =
      std::ranges::all_of(parameters(model.graph), [&](const Parameter& parameter) {
        return parameter.role != ParameterRole::conv_weight ||
               stored(parameter.name) == DType::bf16;
      });
  return {all_bf16 ? Precision::bf16 : Precision::f32};
}

}  // namespace offramp::engine
