#include "cli/drift_text.h"

#include <fmt/format.h>

namespace offramp::cli {

std::string drift_text(double distance, double p_value) {
  return fmt::format(
      "{:.0f} % of the images stop at other exits than the images the policy was chosen on "
      "(p = {:.1g}): the images have changed",
      100 * distance, p_value);
}

}  // namespace offramp::cli
