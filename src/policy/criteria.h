#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.h"

namespace offramp::policy {

/// The properties of a criterion, except how its score is computed.
struct CriterionInfo {
  Criterion criterion = Criterion::confidence;
  std::string_view name;
  double least_threshold = 0, most_threshold = 1;  ///< range for users
  /// If true, the score is a whole number that counts exits and depends on the earlier exits, so
  /// the probabilities of a single exit have no score. If false, it is a score of one exit from 0
  /// to 1.
  bool has_history = false;
  std::string_view expected_threshold;  ///< "a score from 0 to 1", for messages
};

/// Returns the properties of every criterion, in the order of the enumeration.
std::span<const CriterionInfo> criteria();
const CriterionInfo& info(Criterion criterion);

/// Returns every criterion, in the order of the enumeration.
std::vector<Criterion> all_criteria();
/// Returns "confidence, entropy, margin or patience", for help texts.
std::string criteria_names();

/// Checks a threshold that a user gave.
/// @throws UsageError "expected a score from 0 to 1, got 2" if it is out of range; the caller adds
/// the name of the field or flag
void check_threshold(Criterion criterion, double threshold);

/// Formats a threshold for people. Thresholds just below 1 get more digits, because they differ
/// only in the last ones.
std::string format_threshold(Criterion criterion, float threshold);

}  // namespace offramp::policy
