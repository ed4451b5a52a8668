#include "eval/worst_class.h"

#include <cstddef>
#include <vector>

#include "core/error.h"
#include "policy/binomial.h"

namespace offramp::eval {

WorstClass worst_class(const PolicyOutcome& outcome, int classes, bool label_free, double level) {
  const std::size_t images = outcome.labels.size();
  if (outcome.answers.size() != images || outcome.references.size() != images)
    throw Error(
        fmt::format("got {} predictions and {} references, expected {} of each: one for each image",
                    outcome.answers.size(), outcome.references.size(), images));
  std::vector<WorstClass> rows(static_cast<std::size_t>(classes));
  for (std::size_t i = 0; i < images; ++i) {
    const std::int64_t label = outcome.labels[i];
    if (label < 0 || label >= classes)
      throw Error(fmt::format("label {} is out of range for {} classes", label, classes));
    WorstClass& row = rows[static_cast<std::size_t>(label)];
    const bool differs = outcome.answers[i] != outcome.references[i];
    ++row.images;
    row.counted += differs && (label_free || outcome.references[i] == label);
  }
  WorstClass worst;
  worst.upper_bound = -1;
  for (std::size_t c = 0; c < rows.size(); ++c) {
    WorstClass& row = rows[c];
    row.label = static_cast<int>(c);
    row.upper_bound = row.images == 0
                          ? 1
                          : policy::clopper_pearson_upper(row.counted, row.images,
                                                          level / static_cast<double>(classes));
    if (row.upper_bound > worst.upper_bound) worst = row;
  }
  return worst;
}

}  // namespace offramp::eval
