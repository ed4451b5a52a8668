#pragma once

#include <string>

#include "core/error.h"

namespace offramp::test {

/// Returns the message of the error that `work` throws, or "no error" if it throws none. Exceptions
/// of other types leave the function.
template <typename Expected = Error, typename Work>
std::string message_of(const Work& work) {
  try {
    work();
  } catch (const Expected& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace offramp::test
