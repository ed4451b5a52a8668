#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace offramp::core {

/// The name of the CPU as the system reports it, for example "AMD EPYC 7B13", or "not known" if it
/// reports none.
std::string cpu_name();

/// The memory that this process may use, in bytes: the machine's, or the limit of its control group
/// (of a container, for example) or of one around it if that is lower.
/// @param root  where /proc and /sys are found; tests pass another folder
std::uint64_t usable_memory(const std::filesystem::path& root = "/");

}  // namespace offramp::core
