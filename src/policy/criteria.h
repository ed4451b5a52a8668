#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.h"

namespace offramp {

/// What the rest of the program needs to know of a criterion beyond its score.
struct CriterionInfo {
  Criterion criterion = Criterion::confidence;
  std::string_view name;
  double least_threshold = 0, most_threshold = 1;  ///< what a person may ask for
  /// The score is a whole number that counts exits, and depends on the exits before: a single
  /// exit's probabilities have none. Else it is a score of one exit from 0 to 1.
  bool has_history = false;
  std::string_view expected_threshold;  ///< "a score from 0 to 1", for messages
};

/// Every criterion, in the order of the enumeration.
std::span<const CriterionInfo> criteria();
const CriterionInfo& info(Criterion criterion);

/// The same without what is known of them, for a sweep over all criteria.
std::vector<Criterion> all_criteria();
/// "confidence, entropy, margin or patience", for help texts.
std::string criteria_names();

/// @throws UsageError "expected a score from 0 to 1, got 2" if a person cannot mean this threshold;
/// the caller adds the name of the field or the flag
void check_threshold(Criterion criterion, double threshold);

/// A threshold for people. Scores near 1 are shown with more digits: they differ in what is
/// missing.
std::string format_threshold(Criterion criterion, float threshold);

}  // namespace offramp
