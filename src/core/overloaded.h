#pragma once

#include <concepts>

namespace offramp::core {

/// A visitor for std::visit, made of one function for each alternative of a variant. Unless one of
/// the functions takes `const auto&`, a visit no longer compiles when the variant gets a new
/// alternative, so no alternative can be forgotten.
template <typename... Functions>
struct overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
overloaded(Functions...) -> overloaded<Functions...>;

/// Constrains a function of a visitor to several alternatives, as in
/// [](const OneOf<Relu, Relu6> auto&) { … }.
template <typename T, typename... Alternatives>
concept OneOf = (std::same_as<T, Alternatives> || ...);

}  // namespace offramp::core
