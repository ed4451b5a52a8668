#pragma once

#include <cstdint>
#include <string>

namespace offramp::core {

/// Formats a number with commas between thousands: 555422720 gives "555,422,720".
std::string with_commas(std::int64_t value);

/// Formats a size in units of 10^6 bytes: 16123456 gives "16.1 MB".
std::string megabytes(std::int64_t bytes);

}  // namespace offramp::core
