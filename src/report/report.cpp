#include "report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "report/page.h"
#include "report/sections.h"
#include "report/text.h"

namespace offramp::report {
namespace {

void check_size(std::string_view what, std::size_t size, std::int64_t expected) {
  if (static_cast<std::int64_t>(size) != expected)
    throw Error(fmt::format("report: {}: got {}, expected {}", what, size, expected));
}

void check_test(const policy::LogitsView& test) {
  if (test.exits < 1 || test.classes < 1 || test.labels.empty())
    throw Error(fmt::format("report: nothing to show: {} exits, {} classes, {} images", test.exits,
                            test.classes, test.images()));
  check_size("logits", test.logits.size() / static_cast<std::size_t>(test.classes),
             test.exits * test.images());
  check_size("logits", test.logits.size(),
             static_cast<std::int64_t>(test.exits) * test.images() * test.classes);
  for (const std::int64_t label : test.labels)
    if (label < 0 || label >= test.classes)
      throw Error(fmt::format("report: label {} is not one of {} classes", label, test.classes));
  const auto bad = std::ranges::find_if_not(test.logits, [](float z) { return std::isfinite(z); });
  if (bad != test.logits.end()) throw Error(fmt::format("report: a logit is not finite: {}", *bad));
}

void check_policy(const ReportPolicy& policy, const policy::LogitsView& test) {
  policy::check(policy.policy, test.exits);
  check_size("exits of the policy", policy.exit_index.size(), test.images());
  check_size("answers of the policy", policy.answers.size(), test.images());
  check_size("shares of the policy", policy.metrics.shares.size(), test.exits);
  for (const int exit_index : policy.exit_index)
    if (exit_index < 0 || exit_index >= test.exits)
      throw Error(
          fmt::format("report: exit index {} is not one of {} exits", exit_index, test.exits));
  for (const std::int64_t answer : policy.answers)
    if (answer < 0 || answer >= test.classes)
      throw Error(fmt::format("report: answer {} is not one of {} classes", answer, test.classes));
}

void check(const ReportInput& input) {
  check_test(input.test);
  check_policy(input.policy, input.test);
  check_size("class names", input.classes.size(), input.test.classes);
  check_size("places", input.exit_units.size(), input.test.exits);
  check_size("costs", input.costs.size(), input.test.exits);
  check_size("metrics of exits", input.metrics.exits.size(), input.test.exits);
  check_size("images of the metrics", static_cast<std::size_t>(input.metrics.images),
             input.test.images());
  check_size("image names", input.names.size(), input.test.images());
  if (!input.image) throw Error("report: image: the function that returns the pixels is missing");
}

/// Links to the sections that the page has.
std::string contents(std::string_view sections) {
  constexpr std::pair<const char*, const char*> kSections[] = {
      {"cost", "Accuracy and cost"}, {"speed", "Speed"},       {"leaving", "Where images leave"},
      {"classes", "Classes"},        {"exits", "Exits"},       {"overthinking", "Overthinking"},
      {"gallery", "Images"},         {"training", "Training"}, {"confusion", "Confusions"},
      {"facts", "How it was made"}};
  std::string out = "<nav aria-label=\"Contents\"><ul>";
  for (const auto& [id, name] : kSections)
    if (sections.find(fmt::format("<section id=\"{}\"", id)) != sections.npos)
      out += fmt::format("<li><a href=\"#{}\">{}</a></li>", id, name);
  return out + "</ul></nav>\n";
}

}  // namespace

double ReportContext::last_exit_accuracy() const {
  const eval::PolicyMetrics& metrics = input.policy.metrics;
  return metrics.accuracy + metrics.harm - metrics.help;
}

std::string ReportContext::exit_name(int exit_index) {
  return fmt::format("exit {}", exit_index + 1);
}

std::string ReportContext::class_name(std::int64_t label, int most) const {
  return shorten(input.classes[static_cast<std::size_t>(label)], most);
}

std::string report_html(const ReportInput& input) {
  check(input);
  const ReportContext context{input,
                              eval::Predictions(input.test, input.policy.policy.temperatures)};
  std::string style;
  std::string body = frontier_section(context);
  body += speed_section(context);
  body += exit_shares_section(context);
  body += class_accuracy_section(context);
  body += exits_section(context);
  body += overthinking_section(context);
  body += gallery_section(context, style);
  body += training_section(context);
  body += confusion_section(context);
  body += facts_section(context);
  body = "<header>\n" + summary(context) + contents(body) + "</header>\n<main>\n" + body;
  body +=
      "</main>\n<footer>Written by offramp report. This file is complete: it loads nothing from "
      "the network and runs no script. To see the value of a mark, point at it, tap it or reach "
      "it with the tab key.</footer>\n";
  return document(input.title + " · offramp report", style, body);
}

}  // namespace offramp::report
