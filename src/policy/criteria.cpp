#include "policy/criteria.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "core/error.h"

namespace offramp::policy {
namespace {

constexpr std::string_view kScore = "a score from 0 to 1";
constexpr std::array<CriterionInfo, 4> kCriteria = {{
    {Criterion::confidence, "confidence", 0, 1, false, kScore},
    {Criterion::entropy, "entropy", 0, 1, false, kScore},
    {Criterion::margin, "margin", 0, 1, false, kScore},
    {Criterion::patience, "patience", 1, 1000, true, "a number of exits that agree, from 1"},
}};

}  // namespace

std::span<const CriterionInfo> criteria() { return kCriteria; }

const CriterionInfo& info(Criterion criterion) {
  for (const CriterionInfo& row : kCriteria)
    if (row.criterion == criterion) return row;
  throw Error(
      fmt::format("criterion {} has no row in the table of criteria", static_cast<int>(criterion)));
}

std::vector<Criterion> all_criteria() {
  std::vector<Criterion> all;
  for (const CriterionInfo& row : kCriteria) all.push_back(row.criterion);
  return all;
}

std::string criteria_names() {
  std::string text;
  for (std::size_t i = 0; i < kCriteria.size(); ++i)
    text += fmt::format("{}{}",
                        i == 0                      ? ""
                        : i + 1 == kCriteria.size() ? " or "
                                                    : ", ",
                        kCriteria[i].name);
  return text;
}

void check_threshold(Criterion criterion, double threshold) {
  const CriterionInfo& of = info(criterion);
  const bool fits = threshold >= of.least_threshold && threshold <= of.most_threshold &&
                    (!of.has_history || threshold == std::floor(threshold));
  if (!fits) throw UsageError(fmt::format("expected {}, got {}", of.expected_threshold, threshold));
}

std::string format_threshold(Criterion criterion, float threshold) {
  if (info(criterion).has_history) return fmt::format("{}", threshold);
  return fmt::format("{:.{}f}", threshold, threshold > 0.9995f && threshold < 1 ? 7 : 4);
}

}  // namespace offramp::policy
