#pragma once

#include <span>
#include <string_view>

namespace offramp {

/// How sure an exit is; larger is surer.
enum class Criterion {
  confidence,  ///< largest probability
  entropy,     ///< 1 - H(p) / log C (after BranchyNet, Teerapittayanon et al., 2016)
  margin,      ///< largest minus second largest probability
};

/// Numerically stable softmax of z / temperature. @param p  [classes], may be z itself
void softmax(std::span<const float> logits, float temperature, std::span<float> p);

/// @param p  [classes] probabilities, at least one
float score(Criterion criterion, std::span<const float> p);

/// The index of the largest value, the first of equals; NaN never wins.
int argmax(std::span<const float> values);

std::string_view to_string(Criterion criterion);
Criterion criterion_from_string(std::string_view word);

}  // namespace offramp
