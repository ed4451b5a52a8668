#include "cli/verify_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/drift_text.h"
#include "cli/guarantee_output.h"
#include "cli/terminal.h"
#include "core/text.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;
using workflow::Verification;
using workflow::VerifyOptions;

}  // namespace

std::string to_json_text(const VerifyOptions& options, const Verification& result) {
  json verified = nullptr;
  if (const auto& found = result.verified)
    verified = {{"images", found->images},
                {"differing", found->differing},
                {"rho", found->rho},
                {"alpha", found->alpha}};
  json drift = nullptr;
  if (result.drift)
    drift = {{"flag", to_string(result.drift->drift)},
             {"distance", result.drift->distance},
             {"p_value", result.drift->p_value}};
  const policy::Guarantee& given = *result.guarantee;
  const json object = {{"model", options.model.string()},
                       {"data", options.data},
                       {"images", result.images},
                       {"copies", result.copies},
                       {"precision", result.precision},
                       {"kernels", result.kernels},
                       {"certified",
                        {{"of", result.given.of},
                         {"epsilon", result.given.epsilon},
                         {"delta", result.given.delta},
                         {"precision", result.given.precision},
                         {"kernels", result.given.kernels}}},
                       {"verified", verified},
                       {"drift", drift},
                       {"guarantee", guarantee_json(engine::to_public(given, result.certificate))}};
  return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string to_text(const VerifyOptions& options, const Verification& result) {
  const policy::Guarantee& given = result.given;
  std::string text =
      fmt::format("{}: certified {} in {} with {}\n", printable(options.model.string()),
                  describe(given), printable(given.precision), printable(given.kernels));
  text += fmt::format("here: {} with {}, {} images of {}\n", result.precision, result.kernels,
                      core::with_commas(result.images), printable(options.data));
  if (result.copies > 0)
    text += fmt::format("{} exact copies of other images were left out\n",
                        core::with_commas(result.copies));
  if (const auto& found = result.verified)
    text += fmt::format(
        "{} of these images get another answer here than from the certified code: at most {:.3g} "
        "of all, with probability ≥ {:g}\n"
        "so here {} ≤ {:g} + {:.3g} = {:.4g} with probability ≥ 1 − ({:g} + {:g}) = {:g}; written "
        "to the model\n",
        core::with_commas(found->differing), found->rho, 1 - found->alpha, given.of, given.epsilon,
        found->rho, given.epsilon + found->rho, given.delta, found->alpha,
        1 - given.delta - found->alpha);
  text += fmt::format("the certificate is {}\n", describe(result.certificate));
  if (result.certificate.in_force == InForce::no && !result.verified &&
      !(result.drift && result.drift->drift == policy::Drift::drifted))
    text += fmt::format(
        "to bound the difference, save the logits of the same images where it is in force "
        "(\"offramp test MODEL --data {} --save-logits FILE\") and give them with --logits FILE\n",
        printable(options.data));
  return text;
}

}  // namespace offramp::cli
