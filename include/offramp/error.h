#pragma once

#include <stdexcept>

#include "offramp/export.h"

namespace offramp {

/// Thrown when work cannot be done because of a file, data, a model or a computation.
/// The message is one line: the place first, the values last. The program `offramp` then exits with
/// status 1.
class OFFRAMP_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  Error(const Error&) = default;
  Error& operator=(const Error&) = default;
  ~Error() override;
};

/// Thrown when a request is invalid: an option, a recipe, or a combination of them. The program
/// `offramp` then exits with status 2.
class OFFRAMP_API UsageError : public Error {
 public:
  using Error::Error;

  UsageError(const UsageError&) = default;
  UsageError& operator=(const UsageError&) = default;
  ~UsageError() override;
};

}  // namespace offramp
