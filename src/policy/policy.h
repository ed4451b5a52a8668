#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace offramp::policy {

/// The score that says how confident an exit is; a larger score is more confident.
enum class Criterion {
  confidence,  ///< largest probability
  entropy,     ///< 1 - H(p) / log C (after BranchyNet, Teerapittayanon et al., 2016)
  margin,      ///< largest minus second largest probability
  /// The number of exits in a row, this one included, that predict the same class (PABEE, Zhou et
  /// al., 2020).
  patience,
};

/// Which probabilities exit k classifies with: its own, or a mean of those of exits 1 … k.
enum class Ensemble {
  off,
  mean,       ///< arithmetic mean
  geometric,  ///< geometric mean, scaled to the sum 1
  weighted,   ///< arithmetic mean with one non-negative weight per exit
};

/// The thresholds of the early exits. No image stops at an exit whose threshold has no value.
using Thresholds = std::vector<std::optional<float>>;  // [K - 1]

/// The rule that decides at which exit an image stops. It applies to the logits of one network with
/// K exits.
struct Policy {
  Criterion criterion = Criterion::confidence;
  Thresholds
      thresholds;  ///< [K - 1] an image stops at the first exit whose score reaches its threshold
  std::vector<float> temperatures;  ///< [K] T in p = softmax(z / T) (Guo et al., 2017)
  Ensemble ensemble = Ensemble::off;
  std::vector<float> ensemble_weights;  ///< [K] for Ensemble::weighted, otherwise empty

  int num_exits() const { return static_cast<int>(temperatures.size()); }
  bool operator==(const Policy&) const = default;
};

/// Returns a policy that never stops early: all temperatures are 1, no exit has a threshold.
Policy never_stop(int exits);

/// Checks that a policy can be used for a network with this many exits.
/// @throws Error naming the field if its size does not match the number of exits or a value is not
/// allowed
void check(const Policy& policy, int exits);

/// The result of the exits that one image has passed so far. Exit 1 resets it, so one object can be
/// reused for many images without allocating memory.
struct ExitState {
  std::vector<float> p;  ///< [classes] probabilities of the latest exit, or of the ensemble so far
  int answer = 0;        ///< the class with the largest probability, the first if several are equal
  float score = 0;       ///< the score by the policy's criterion
  int agreeing_exits = 0;   ///< number of exits in a row that predict `answer`; 0 where p is NaN
  std::vector<double> sum;  ///< [classes] weighted sum over the exits of the ensemble so far
  double weight = 0;        ///< sum of the weights of these exits
  std::vector<double> scratch;  ///< [classes] temporary values
};

/// Updates everything but the score with the logits of one exit. The exits of an image must be
/// given in order, starting with exit_index 0. @param logits  [classes]
void update_exit_state(const Policy& policy, int exit_index, std::span<const float> logits,
                       ExitState& exit_state);

/// Returns the score of the latest exit. It is NaN, which reaches no threshold, if the logits were
/// NaN or infinite.
float score(Criterion criterion, const ExitState& exit_state);

/// Updates `exit_state`, its score included, with the logits of one exit and returns whether the
/// image stops there. An image always stops at the last exit. The runtime and the evaluation both
/// decide with this function, so they cannot differ.
bool should_exit(const Policy& policy, int exit_index, std::span<const float> logits,
                 ExitState& exit_state);

/// Computes the softmax of logits / temperature in a numerically stable way.
/// @param p  [classes] receives the probabilities; it may be the memory of `logits`
void softmax(std::span<const float> logits, float temperature, std::span<float> p);

/// Returns the score of a single exit from its probabilities. Patience depends on earlier exits, so
/// it has no such score. @param p  [classes] probabilities, at least one
/// @throws Error for patience
float score(Criterion criterion, std::span<const float> p);

/// Returns the index of the largest value, the first one if several are equal. NaN counts as
/// smaller than every number.
int argmax(std::span<const float> values);

std::string_view to_string(Criterion criterion);
Criterion criterion_from_string(std::string_view word);
std::string_view to_string(Ensemble ensemble);
Ensemble ensemble_from_string(std::string_view word);

}  // namespace offramp::policy
