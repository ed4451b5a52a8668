#include <fmt/format.h>

#include "report/page.h"
#include "report/sections.h"
#include "report/text.h"

namespace offramp::report {
namespace {

std::string policy_text(const ReportContext& context) {
  const policy::Policy& policy = context.input.policy.policy;
  std::string text =
      fmt::format("{}, ensemble {}", to_string(policy.criterion), to_string(policy.ensemble));
  for (std::size_t k = 0; k < policy.thresholds.size(); ++k)
    text += fmt::format("; exit {} {}", k + 1,
                        policy.thresholds[k] ? "≥ " + fixed(*policy.thresholds[k], 4) : "never");
  return text;
}

std::string temperatures_text(const ReportContext& context) {
  std::string text;
  for (const float temperature : context.input.policy.policy.temperatures)
    text += (text.empty() ? "" : ", ") + fixed(temperature, 3);
  return text;
}

}  // namespace

std::string facts_section(const ReportContext& context) {
  const ReportInput& input = context.input;
  std::vector<std::pair<std::string, std::string>> facts = {
      {"run", input.title},
      {"data", fmt::format("{}: {} of {} classes", input.data,
                           count(input.test.images(), "test image"), count(input.test.classes))}};
  if (context.has_policy()) {
    facts.emplace_back("policy", policy_text(context));
    facts.emplace_back("temperatures", temperatures_text(context) + " (exit 1 first)");
    facts.emplace_back("aim", input.policy.aim);
    if (!input.policy.guarantee.empty())
      facts.emplace_back("certificate", input.policy.guarantee_status);
    facts.emplace_back("measured", input.policy.executed ? "executed: images really stopped"
                                                         : "replayed from saved logits");
  }
  facts.insert(facts.end(), input.facts.begin(), input.facts.end());
  std::string out = "<div class=\"scroll whole\"><table class=\"facts\"><tbody>\n";
  for (const auto& [name, value] : facts)
    out +=
        fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value));
  out += "</tbody></table></div>\n";
  out += input.recipe.empty()
             ? paragraph("The recipe of the training is not known.", "soft")
             : folded("The recipe of the training",
                      fmt::format("<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                                  "aria-label=\"Recipe\"><pre>{}</pre></div>\n",
                                  escape_lines(input.recipe)),
                      true);
  return section("facts", "How it was made", out);
}

}  // namespace offramp::report
