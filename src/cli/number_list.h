#pragma once

#include <array>
#include <string>
#include <string_view>

namespace offramp::cli {

/// Parses three numbers with commas between them: "0.485,0.456,0.406".
/// @throws UsageError naming the flag
std::array<float, 3> three_numbers(std::string_view flag, const std::string& text);

}  // namespace offramp::cli
