#include "cli/number_list.h"

#include <cmath>

#include "core/error.h"
#include "core/numbers.h"

namespace offramp::cli {

std::array<float, 3> three_numbers(std::string_view flag, const std::string& text) {
  std::array<float, 3> values{};
  std::string_view rest = text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = core::take_number<float>(rest);
    const bool separated = i + 1 == values.size() ? rest.empty() : rest.starts_with(',');
    if (!value || !std::isfinite(*value) || !separated)
      throw UsageError(fmt::format("{}: expected three numbers, as in 0.485,0.456,0.406, got {}",
                                   flag, core::quote(text)));
    values[i] = *value;
    if (!rest.empty()) rest.remove_prefix(1);
  }
  return values;
}

}  // namespace offramp::cli
