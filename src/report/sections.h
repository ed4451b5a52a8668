#pragma once

#include <string>

#include "eval/overthinking.h"
#include "eval/readings.h"
#include "report/report.h"

// The parts of the page, from top to bottom. Each returns markup.
namespace offramp::report {

/// What every part draws from.
struct Subject {
  const ReportInput& input;
  Readings readings;  ///< at the policy's temperatures

  int exits() const { return input.test.exits; }
  int last() const { return input.test.exits - 1; }
  /// The model has a policy and an exit to stop at.
  bool stops() const { return !input.policy.aim.empty() && exits() > 1; }
  /// Accuracy of sending every image to the last exit, under the policy's ensemble.
  double accuracy_going_on() const;
  /// "exit 2"
  static std::string exit_name(int exit_index);
  /// The class's name, cut to `most` columns. Not escaped.
  std::string class_name(std::int64_t label, int most = 24) const;
};

std::string summary(const Subject& subject);
std::string frontier_section(const Subject& subject);
std::string leaving_section(const Subject& subject);
std::string exits_section(const Subject& subject);
std::string overthinking_section(const Subject& subject);
/// Part of it: errors of the last exit by class, those that an earlier exit had right set off.
std::string overthinking_by_class_figure(const Subject& subject,
                                         const std::vector<OverthinkingCounts>& classes);
/// @param style  gets the images, as style rules
std::string gallery_section(const Subject& subject, std::string& style);
std::string training_section(const Subject& subject);
std::string confusion_section(const Subject& subject);
std::string facts_section(const Subject& subject);

}  // namespace offramp::report
