#pragma once

#include <stdexcept>
#include <type_traits>
#include <utility>

#include "offramp/export.h"

namespace offramp {

namespace detail {
// The library's own sources make messages of formats and values; applications need not.
template <typename... Args>
struct Format;
}  // namespace detail

/// Work that cannot be done: a file, data, a model or a computation is not as it must be.
/// The message is one line, place first and values last. The program exits with status 1.
class OFFRAMP_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  template <typename... Args>
  explicit Error(std::type_identity_t<detail::Format<Args...>> format,
                 Args&&... args) requires(sizeof...(Args) > 0)
      : std::runtime_error(format.message(std::forward<Args>(args)...)) {}

  Error(const Error&) = default;
  Error& operator=(const Error&) = default;
  ~Error() override;
};

/// A request that makes no sense as put: a flag, a recipe, a combination. Exit status 2.
class OFFRAMP_API UsageError : public Error {
 public:
  using Error::Error;

  UsageError(const UsageError&) = default;
  UsageError& operator=(const UsageError&) = default;
  ~UsageError() override;
};

}  // namespace offramp
