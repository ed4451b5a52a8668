#include <fmt/format.h>

#include <algorithm>

#include "report/page.h"
#include "report/sections.h"
#include "report/text.h"

namespace offramp::report {
namespace {

std::string result_sentence(const ReportContext& context) {
  const ReportInput& input = context.input;
  const eval::PolicyMetrics& policy = input.policy.metrics;
  const std::string images = count(input.test.images(), "test image");
  const std::string cost = fixed(policy.relative_cost, 2);
  std::string text =
      fmt::format("This network classifies {} of {} correctly at {} of the plain network’s cost",
                  percent(policy.accuracy, 1), images, cost);
  if (context.has_policy())
    return text + fmt::format("; if all of them run to the last exit, it is {} at {}.",
                              percent(context.last_exit_accuracy(), 1),
                              fixed(input.costs.back(), 2));
  if (context.exits() == 1) return text + ".";
  return text +
         "; every image runs to the last exit, because the model has no policy to stop earlier.";
}

/// A sentence on the difference to the plain network; empty if it is not among the baselines.
std::string against_plain(const ReportContext& context) {
  const auto& controls = context.input.controls;
  const auto plain =
      std::ranges::find(controls, ReportBaseline::Kind::plain, &ReportBaseline::kind);
  if (plain == controls.end()) return "";
  const eval::Baseline& control = plain->control;
  return fmt::format(
      "The plain network {}, which has no early exit, classifies {} correctly at {}. The "
      "accuracy of this network minus that of the plain one is {} points (95 % interval {}, paired "
      "on the same images).",
      clean(plain->name), percent(control.accuracy, 1), fixed(control.relative_cost, 2),
      points(control.difference, 1), points(control.difference_interval, 1));
}

std::vector<Tile> key_numbers(const ReportContext& context) {
  const eval::PolicyMetrics& policy = context.input.policy.metrics;
  std::vector<Tile> items = {
      {"Accuracy", percent(policy.accuracy, 2),
       fmt::format("95 % interval {}", percent(policy.accuracy_interval, 2))},
      {"Relative cost", fixed(policy.relative_cost, 3),
       "mean over the images; 1 is the plain network"}};
  if (!context.input.speed.empty()) {
    const SpeedRow& speed = context.input.speed.front();
    items.push_back({"Time of one image", ms_text(speed), "alone, on this machine"});
    items.push_back({"Speed", rate_text(speed), "many images together, on this machine"});
  }
  if (!context.has_policy()) return items;
  items.push_back({"Harm", percent(policy.harm, 2),
                   "of the images: the last exit is correct, the policy wrong"});
  items.push_back({"Help", percent(policy.help, 2),
                   "of the images: the policy is correct, the last exit wrong"});
  return items;
}

std::string how_it_stops(const ReportContext& context) {
  const ReportPolicy& policy = context.input.policy;
  if (context.exits() == 1) return paragraph("The network has one exit, so there is no choice.");
  if (!context.has_policy())
    return paragraph(
        "“offramp calibrate” chooses a policy, on images that the network was not trained on; the "
        "report then shows at which exits images leave.");
  std::string out = fmt::format(
      "<p>The policy was chosen on other images than these, with the aim <code>{}</code>. "
      "{}</p>\n",
      escape(policy.aim),
      policy.executed
          ? "It was executed here: images really stopped, and later layers were not computed."
          : "It was replayed here: the logits of every exit were computed and saved, and the "
            "policy was applied to them.");
  if (policy.guarantee.empty()) return out;
  // A certificate that is not in force is named as what it is before the bound is read.
  out += paragraph(policy.guarantee_in_force
                       ? fmt::format("Certified, and in force here: {}.", policy.guarantee)
                       : fmt::format("Its certificate is {}. It says: {}.", policy.guarantee_status,
                                     policy.guarantee));
  return out;
}

}  // namespace

std::string summary(const ReportContext& context) {
  const ReportInput& input = context.input;
  std::string out =
      fmt::format("<h1>{}</h1>\n<p class=\"of\">{} · {} · {}</p>\n", escape(input.title),
                  escape(input.data), count(input.test.images(), "test image"),
                  context.exits() == 1 ? "1 exit" : count(context.exits(), "exit"));
  out += paragraph(result_sentence(context), "result");
  if (const std::string plain = against_plain(context); !plain.empty()) out += paragraph(plain);
  return out + tiles(key_numbers(context)) + how_it_stops(context);
}

}  // namespace offramp::report
