#include <fmt/format.h>

#include <algorithm>

#include "report/page.h"
#include "report/sections.h"
#include "report/text.h"

namespace offramp::report {
namespace {

std::string result_sentence(const Subject& subject) {
  const ReportInput& input = subject.input;
  const PolicyMetrics& policy = input.policy.metrics;
  const std::string images = count(input.test.images(), "test image");
  const std::string cost = fixed(policy.relative_cost, 2);
  std::string text =
      fmt::format("This network names {} of {} rightly at {} of the plain network’s cost",
                  percent(policy.accuracy, 1), images, cost);
  if (subject.stops())
    return text + fmt::format("; going on to the last exit for all of them gives {} at {}.",
                              percent(subject.accuracy_going_on(), 1),
                              fixed(input.costs.back(), 2));
  if (subject.exits() == 1) return text + ".";
  return text +
         "; every image goes on to the last exit, for the model has no policy to stop earlier.";
}

/// The difference to the plain network, if one is among the controls.
std::string against_plain(const Subject& subject) {
  const auto& controls = subject.input.controls;
  const auto plain = std::ranges::find(controls, ReportControl::Kind::plain, &ReportControl::kind);
  if (plain == controls.end()) return "";
  const Control& control = plain->control;
  return fmt::format(
      "The plain network {}, which has no early exit, names {} rightly at {}: this one’s "
      "difference to it is {} points (95 % interval {}, the same images).",
      clean(plain->name), percent(control.accuracy, 1), fixed(control.relative_cost, 2),
      points(control.difference, 1), points(control.difference_interval, 1));
}

std::vector<Tile> key_numbers(const Subject& subject) {
  const PolicyMetrics& policy = subject.input.policy.metrics;
  std::vector<Tile> items = {
      {"Accuracy", percent(policy.accuracy, 2),
       fmt::format("95 % interval {}", percent(policy.accuracy_interval, 2))},
      {"Relative cost", fixed(policy.relative_cost, 3),
       "mean over the images; 1 is the plain network"}};
  if (!subject.stops()) return items;
  items.push_back(
      {"Harm", percent(policy.harm, 2), "of the images: the last exit is right, the policy wrong"});
  items.push_back(
      {"Help", percent(policy.help, 2), "of the images: the policy is right, the last exit wrong"});
  return items;
}

std::string how_it_stops(const Subject& subject) {
  const ReportPolicy& policy = subject.input.policy;
  if (subject.exits() == 1) return paragraph("The network has one exit, so there is no choice.");
  if (!subject.stops())
    return paragraph(
        "“offramp calibrate” chooses when an image may stop, on images held out of training; the "
        "report then shows where images leave.");
  std::string out = fmt::format(
      "<p>When an image may stop was chosen on other images than these, with the aim "
      "<code>{}</code>. {}</p>\n",
      escape(policy.aim),
      policy.executed
          ? "It was executed here: the network really stopped, and later layers were not computed."
          : "It was replayed here: every exit was computed and saved, and the policy applied to "
            "what they said.");
  if (!policy.guarantee.empty()) out += paragraph("Certified: " + policy.guarantee + ".");
  return out;
}

}  // namespace

std::string summary(const Subject& subject) {
  const ReportInput& input = subject.input;
  std::string out =
      fmt::format("<h1>{}</h1>\n<p class=\"of\">{} · {} · {}</p>\n", escape(input.title),
                  escape(input.data), count(input.test.images(), "test image"),
                  subject.exits() == 1 ? "1 exit" : count(subject.exits(), "exit"));
  out += paragraph(result_sentence(subject), "result");
  if (const std::string plain = against_plain(subject); !plain.empty()) out += paragraph(plain);
  return out + tiles(key_numbers(subject)) + how_it_stops(subject);
}

}  // namespace offramp::report
