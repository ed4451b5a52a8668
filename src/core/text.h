#pragma once

#include <cstdint>
#include <string>

namespace offramp {

/// 555422720 -> "555,422,720".
std::string with_commas(std::int64_t value);

/// 16123456 -> "16.1 MB".
std::string megabytes(std::int64_t bytes);

}  // namespace offramp
