#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace offramp {

/// How sure an exit is; larger is surer.
enum class Criterion {
  confidence,  ///< largest probability
  entropy,     ///< 1 - H(p) / log C (after BranchyNet, Teerapittayanon et al., 2016)
  margin,      ///< largest minus second largest probability
  patience,  ///< how many exits up to this one give its answer in a row (PABEE, Zhou et al., 2020)
};

/// What exit k answers with: its own probabilities, or a mean of those of exits 1 … k.
enum class Ensemble {
  off,
  mean,       ///< arithmetic
  geometric,  ///< normalised again
  weighted,   ///< arithmetic, with one non-negative weight per exit
};

/// Thresholds of the early exits; one without a value is never stopped at.
using Thresholds = std::vector<std::optional<float>>;  // [K - 1]

/// When an image may stop. Everything in it applies to logits of one network with K exits.
struct Policy {
  Criterion criterion = Criterion::confidence;
  Thresholds thresholds;            ///< [K - 1] stop at the first exit whose score reaches its own
  std::vector<float> temperatures;  ///< [K] p = softmax(z / T) (Guo et al., 2017)
  Ensemble ensemble = Ensemble::off;
  std::vector<float> ensemble_weights;  ///< [K] where ensemble is weighted, else empty

  int num_exits() const { return static_cast<int>(temperatures.size()); }
  bool operator==(const Policy&) const = default;
};

/// A policy that never stops early: temperatures 1, no threshold.
Policy never_stop(int exits);

/// @throws Error naming the field if sizes do not fit K exits, or a value cannot be used
void check(const Policy& policy, int exits);

/// What the exits so far say of one image. The first exit begins it anew, so that one serves image
/// after image without an allocation.
struct Opinion {
  std::vector<float> p;         ///< [classes] probabilities, of the exit or of the ensemble so far
  int answer = 0;               ///< the class of the largest, the first of equals
  float score = 0;              ///< of the policy's criterion
  int streak = 0;               ///< exits up to this one that agree; 0 where p is NaN
  std::vector<double> sum;      ///< [classes] of the ensemble's members, weighted
  double weight = 0;            ///< of the members
  std::vector<double> scratch;  ///< [classes]
};

/// Takes in exit `exit_index` of an image whose earlier exits have been taken in, in order: all of
/// the opinion but its score. @param logits  [classes]
void listen(const Policy& policy, int exit_index, std::span<const float> logits, Opinion& opinion);

/// How sure the opinion is; NaN, which reaches no threshold, where its logits were NaN or infinite.
float score(Criterion criterion, const Opinion& opinion);

/// listen() and score(), and whether the image stops here; at the last exit always.
/// The one function that decides: runtime and evaluation both call it.
bool consult(const Policy& policy, int exit_index, std::span<const float> logits, Opinion& opinion);

/// Numerically stable softmax of z / temperature. @param p  [classes], may be z itself
void softmax(std::span<const float> logits, float temperature, std::span<float> p);

/// Of one exit's probabilities alone; not for patience.
/// @param p  [classes] probabilities, at least one
float score(Criterion criterion, std::span<const float> p);

/// The index of the largest value, the first of equals; NaN never wins.
int argmax(std::span<const float> values);

std::string_view to_string(Criterion criterion);
Criterion criterion_from_string(std::string_view word);
std::string_view to_string(Ensemble ensemble);
Ensemble ensemble_from_string(std::string_view word);

}  // namespace offramp
