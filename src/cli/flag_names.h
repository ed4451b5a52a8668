#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "workflow/provenance.h"

namespace offramp::cli {

/// Replaces the name of an options field at the start of a message by the name of its flag:
/// "max_drop: expected …" becomes "--max-accuracy-drop: expected …". Other messages are returned
/// unchanged.
std::string with_flag_name(std::string_view message);

/// Replaces the names of options fields of two words or more by their flags, anywhere in a text but
/// in quotation marks, which may hold a class of that name.
std::string with_flag_names(std::string_view text);

/// The advice that translate_option_errors adds to an error about images the model was trained on.
enum class Advice { none, skip_trained };

/// Calls `work`; if it throws an error that names an options field, the error names the flag
/// instead.
/// @param advice  skip_trained if the command has the flag --skip-trained
/// @return what `work` returns
template <typename Work>
auto translate_option_errors(const Work& work, Advice advice = Advice::none) {
  try {
    return work();
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}", with_flag_name(error.what())));
  } catch (const workflow::TrainedOnImages& error) {
    if (advice == Advice::none) throw;
    throw Error(fmt::format("{} (--skip-trained leaves them out)", error.what()));
  }
}

}  // namespace offramp::cli
