#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/policy.h"

namespace offramp {

/// What a certificate promises: on images like those it was drawn from, with probability at least
/// 1 - delta over their draw, the rate of `of` is at most epsilon.
struct Guarantee {
  std::string of = "harm";  ///< or "disagreement" with the last exit, which needs no labels
  double epsilon = 0, delta = 0;
  double level = 0;          ///< at which the test was made: delta, less what earlier ones spent
  std::int64_t images = 0;   ///< of the certificate
  std::int64_t counted = 0;  ///< harmed, or answered otherwise, among them
  double upper_bound = 0;    ///< Clopper–Pearson, at `level`
  std::string precision;     ///< of the logits; under another one the guarantee does not hold
  std::string kernels = {};  ///< that computed them: "libtorch cpu"
  bool operator==(const Guarantee&) const = default;
};

/// Where images left under a policy when it was chosen: what those of later days are compared with.
struct ExitsSeen {
  std::int64_t images = 0;
  std::vector<double> shares;  ///< [K]
  bool operator==(const ExitsSeen&) const = default;
};

/// The policy that a model stops by, and how it was chosen.
struct ChosenPolicy {
  Policy policy;
  std::string aim;  ///< for people: "--max-accuracy-drop 0.005"
  std::optional<Guarantee> guarantee = {};
  std::optional<ExitsSeen> seen = {};
  bool operator==(const ChosenPolicy&) const = default;
};

/// As JSON text and back. @throws Error naming the field
std::string policy_to_json(const ChosenPolicy& chosen);
ChosenPolicy policy_from_json(const std::string& text, int exits);

}  // namespace offramp
