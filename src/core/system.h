#pragma once

#include <string>

namespace offramp::core {

/// The name of the CPU as the system reports it, for example "AMD EPYC 7B13", or "not known" if it
/// reports none.
std::string cpu_name();

}  // namespace offramp::core
