#pragma once

#include <string>

#include "eval/overthinking.h"
#include "eval/readings.h"
#include "report/report.h"

// The sections of the page, from top to bottom. Each function returns markup.
namespace offramp::report {

/// The data that every section uses.
struct Subject {
  const ReportInput& input;
  Predictions predictions;  ///< answers and confidences at the policy's temperatures

  int exits() const { return input.test.exits; }
  int last() const { return input.test.exits - 1; }
  /// True if the model has a policy and at least one early exit.
  bool has_policy() const { return !input.policy.aim.empty() && exits() > 1; }
  /// Accuracy if every image runs to the last exit, with the policy's ensemble.
  double accuracy_going_on() const;
  /// "exit 2"
  static std::string exit_name(int exit_index);
  /// The name of a class, shortened to `most` columns. It is not escaped.
  std::string class_name(std::int64_t label, int most = 24) const;
};

std::string summary(const Subject& subject);
std::string frontier_section(const Subject& subject);
std::string leaving_section(const Subject& subject);
std::string exits_section(const Subject& subject);
std::string overthinking_section(const Subject& subject);
/// A figure of that section: the errors of the last exit by class, with those images marked that an
/// earlier exit classifies correctly.
std::string overthinking_by_class_figure(const Subject& subject,
                                         const std::vector<OverthinkingCounts>& classes);
/// @param style  the images are appended to it, as CSS rules
std::string gallery_section(const Subject& subject, std::string& style);
std::string training_section(const Subject& subject);
std::string confusion_section(const Subject& subject);
std::string facts_section(const Subject& subject);

}  // namespace offramp::report
