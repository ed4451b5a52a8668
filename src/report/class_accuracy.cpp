#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "report/page.h"
#include "report/sections.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

/// Counts of the images of a class.
struct ClassCounts {
  std::int64_t label = 0;
  std::int64_t images = 0;
  /// Images classified correctly under the policy, or at the last exit if there is none.
  std::int64_t correct = 0;
  std::int64_t correct_last = 0;  ///< images classified correctly at the last exit
  std::int64_t answered = 0;      ///< images of any class that are classified as this one

  double accuracy() const {
    return images == 0 ? 2 : static_cast<double>(correct) / static_cast<double>(images);
  }
};

std::vector<ClassCounts> counts_of(const ReportContext& context) {
  std::vector<ClassCounts> classes(static_cast<std::size_t>(context.input.test.classes));
  for (std::size_t c = 0; c < classes.size(); ++c) classes[c].label = static_cast<std::int64_t>(c);
  for (std::int64_t i = 0; i < context.predictions.images(); ++i) {
    const std::int64_t label = context.predictions.label(i);
    const std::int64_t answer = context.input.policy.answers[static_cast<std::size_t>(i)];
    ClassCounts& of = classes[static_cast<std::size_t>(label)];
    ++of.images;
    of.correct += answer == label;
    of.correct_last += context.predictions.is_correct(context.last(), i);
    ++classes[static_cast<std::size_t>(answer)].answered;
  }
  return classes;
}

std::string share(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? "–" : percent(static_cast<double>(part) / static_cast<double>(whole), 2);
}

}  // namespace

std::string class_accuracy_section(const ReportContext& context) {
  std::vector<ClassCounts> classes = counts_of(context);
  std::ranges::stable_sort(classes, {}, &ClassCounts::accuracy);
  std::vector<std::string> heads = {"class", "images", "accuracy", "precision"};
  if (context.has_policy())
    heads.insert(heads.end(), {"accuracy of the last exit", "difference, points"});
  Table table("Accuracy by class, lowest first", heads);
  for (const ClassCounts& of : classes) {
    std::vector<std::string> cells = {context.class_name(of.label, 40), count(of.images),
                                      share(of.correct, of.images), share(of.correct, of.answered)};
    if (context.has_policy()) {
      cells.push_back(share(of.correct_last, of.images));
      cells.push_back(of.images == 0 ? "–"
                                     : points(static_cast<double>(of.correct - of.correct_last) /
                                                  static_cast<double>(of.images),
                                              2));
    }
    table.row(cells);
  }
  return section("classes", "Accuracy by class",
                 paragraph(fmt::format(
                     "Accuracy is the share of a class’s images that {} correctly; precision "
                     "is the share of the images classified as this class that belong to it.",
                     context.has_policy() ? "the policy classifies" : "the last exit classifies")) +
                     table.html());
}

}  // namespace offramp::report
