#include "workflow/output_file.h"

#include "core/error.h"
#include "core/file.h"

namespace offramp::workflow {

namespace fs = std::filesystem;

void refuse_same_file(std::string_view field, const fs::path& out,
                      const std::vector<fs::path>& inputs) {
  std::error_code ignored;
  for (const fs::path& input : inputs)
    if (fs::equivalent(out, input, ignored))
      throw UsageError(
          fmt::format("{}: {} is an input, so it cannot be the output; choose another file", field,
                      out.string()));
}

void check_output(std::string_view field, const fs::path& out,
                  const std::vector<fs::path>& inputs) {
  refuse_same_file(field, out, inputs);
  core::check_writable(out);
}

}  // namespace offramp::workflow
