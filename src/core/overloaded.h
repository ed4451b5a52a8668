#pragma once

#include <concepts>

namespace offramp {

/// A visitor made of one function for each alternative of a variant. A visit without a branch that
/// takes everything (`const auto&`) does not compile when the variant gets a new alternative, so
/// nothing that distinguishes alternatives can forget one.
template <typename... Functions>
struct overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
overloaded(Functions...) -> overloaded<Functions...>;

/// For a branch that several alternatives share: [](const OneOf<Relu, Relu6> auto&) { … }.
template <typename T, typename... Alternatives>
concept OneOf = (std::same_as<T, Alternatives> || ...);

}  // namespace offramp
