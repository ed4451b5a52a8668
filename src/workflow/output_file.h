#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace offramp::workflow {

/// Checks that an output file is not one of the files that are read, and not an existing file in a
/// folder that is read, unless its ending is that of a page, a table or logits. Every flag that
/// names an output goes through this function.
/// @param field  name of the output in the message
/// @throws UsageError "<field>: <path> is an input, so it cannot be the output; choose another
/// file"
void refuse_same_file(std::string_view field, const std::filesystem::path& out,
                      const std::vector<std::filesystem::path>& inputs);

/// Checks the same, and that the file can be written. Call it before long work starts.
/// @throws Error as check_writable
void check_output(std::string_view field, const std::filesystem::path& out,
                  const std::vector<std::filesystem::path>& inputs);

}  // namespace offramp::workflow
