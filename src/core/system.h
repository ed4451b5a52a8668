#pragma once

#include <string>

namespace offramp {

/// The CPU's name as the system gives it: "AMD EPYC 7B13"; "not known" where it gives none.
std::string cpu_name();

}  // namespace offramp
