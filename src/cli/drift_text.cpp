#include "cli/drift_text.h"

#include <fmt/format.h>

namespace offramp::cli {

std::string drift_text(double distance, double p_value) {
  return fmt::format(
      "{:.0f} % of the images leave elsewhere than those the policy was chosen on (p = {:.1g}): "
      "these are of another kind",
      100 * distance, p_value);
}

}  // namespace offramp::cli
