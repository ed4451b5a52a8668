#include "core/preprocessing.h"

#include "core/error.h"

namespace offramp::core {

std::string_view to_string(Fit fit) { return fit == Fit::squeeze ? "squeeze" : "crop"; }

Fit fit_from_string(std::string_view word) {
  if (word == "squeeze") return Fit::squeeze;
  if (word == "crop") return Fit::crop;
  throw UsageError(fmt::format("unknown fit {}; known: squeeze, crop", quote(word)));
}

}  // namespace offramp::core
