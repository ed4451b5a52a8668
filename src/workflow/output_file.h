#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace offramp::workflow {

/// Refuses to write over what is read. @param field  names the output in the message
/// @throws UsageError "<field>: <path> is what is read, it must not be written over"
void refuse_same_file(std::string_view field, const std::filesystem::path& out,
                      const std::vector<std::filesystem::path>& inputs);

/// The same, and whether the file can be written: to be asked before long work.
/// @throws Error as check_writable
void check_output(std::string_view field, const std::filesystem::path& out,
                  const std::vector<std::filesystem::path>& inputs);

}  // namespace offramp::workflow
