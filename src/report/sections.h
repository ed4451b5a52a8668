#pragma once

#include <string>

#include "eval/overthinking.h"
#include "eval/predictions.h"
#include "report/report.h"

// The sections of the page, from top to bottom. Each function returns markup; a section that has
// nothing to show is empty.
namespace offramp::report {

/// The data that every section uses.
struct ReportContext {
  const ReportInput& input;
  eval::Predictions predictions;  ///< answers and confidences at the policy's temperatures

  int exits() const { return input.test.exits; }
  int last() const { return input.test.exits - 1; }
  /// True if the model has a policy and at least one early exit.
  bool has_policy() const { return !input.policy.aim.empty() && exits() > 1; }
  /// Accuracy if every image runs to the last exit, with the policy's ensemble.
  double last_exit_accuracy() const;
  /// "exit 2"
  static std::string exit_name(int exit_index);
  /// The name of a class, shortened to `most` columns. It is not escaped.
  std::string class_name(std::int64_t label, int most = 24) const;
};

std::string summary(const ReportContext& context);
std::string frontier_section(const ReportContext& context);
std::string speed_section(const ReportContext& context);
/// "1.31 ms" and "1,830 images/s".
std::string ms_text(const SpeedRow& row);
std::string rate_text(const SpeedRow& row);
std::string exit_shares_section(const ReportContext& context);
std::string exits_section(const ReportContext& context);
std::string class_accuracy_section(const ReportContext& context);
std::string overthinking_section(const ReportContext& context);
/// A figure of that section: the errors of the last exit by class, with those images marked that an
/// earlier exit classifies correctly.
std::string overthinking_by_class_figure(const ReportContext& context,
                                         const std::vector<eval::OverthinkingCounts>& classes);
/// @param style  the images are appended to it, as CSS rules
std::string gallery_section(const ReportContext& context, std::string& style);
std::string training_section(const ReportContext& context);
std::string confusion_section(const ReportContext& context);
std::string facts_section(const ReportContext& context);

}  // namespace offramp::report
