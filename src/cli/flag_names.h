#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "workflow/provenance.h"

namespace offramp::cli {

/// A message that begins with the field of an options struct, with the flag in its place:
/// "max_drop: expected …" -> "--max-accuracy-drop: expected …". Other messages stay as they are.
std::string with_flag_name(std::string_view message);

enum class Advice { none, skip_trained };

/// Calls `work`, whose messages name fields of options, so that people read flags.
/// @param advice  skip_trained: the command has the flag --skip-trained
template <typename Work>
auto naming_flags(const Work& work, Advice advice = Advice::none) {
  try {
    return work();
  } catch (const UsageError& error) {
    throw UsageError("{}", with_flag_name(error.what()));
  } catch (const workflow::TrainedOnImages& error) {
    if (advice == Advice::none) throw;
    throw Error("{} (--skip-trained leaves them out)", error.what());
  }
}

}  // namespace offramp::cli
