#include "workflow/output_file.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"

namespace offramp::workflow {

namespace fs = std::filesystem;

namespace {

/// Whether a file that exists lies in a folder or in one of its subfolders, by its real path.
bool lies_in(const fs::path& file, const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return false;
  const fs::path real = fs::canonical(file, error);
  if (error) return false;
  const fs::path top = fs::canonical(folder, error);
  if (error) return false;
  return std::mismatch(top.begin(), top.end(), real.begin(), real.end()).first == top.end();
}

/// Whether a file in a folder of images may be one that is read. Folders of data sets hold images,
/// archives and files in binary formats, and none with the endings of our own outputs.
bool may_be_read(const fs::path& file) {
  const fs::path ending = file.extension();
  return ending != ".html" && ending != ".json" && ending != ".csv" && ending != ".safetensors";
}

}  // namespace

void refuse_same_file(std::string_view field, const fs::path& out,
                      const std::vector<fs::path>& inputs) {
  std::error_code ignored;
  for (const fs::path& input : inputs)
    if (fs::equivalent(out, input, ignored) || (may_be_read(out) && lies_in(out, input)))
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
