#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"
#include "data/sources.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/safetensors_mutator.h"

// Any bytes are either read as a packed data set or refused with an Error of one line. The arrays
// of a part that was read fit together.

namespace {

using namespace offramp;

void check_part(const std::string& path, data::Part part) {
  const data::LoadedData read = data::detail::load_packed({path}, part, core::Fit::squeeze);
  const data::Dataset& dataset = read.dataset;
  const auto images = static_cast<std::size_t>(dataset.size());
  const std::size_t bytes = images * static_cast<std::size_t>(dataset.height) *
                            static_cast<std::size_t>(dataset.width) * 3;
  if (images == 0 || data::copy_pixels(dataset).size() != bytes ||
      dataset.hashes.size() != images || dataset.names.size() != images)
    std::abort();
  for (const std::int64_t label : dataset.labels)
    if (label < 0 || label >= static_cast<std::int64_t>(dataset.classes.size())) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile file(data, size);
  for (const auto part : {data::Part::train, data::Part::test}) {
    try {
      check_part(file.path(), part);
    } catch (const Error& error) {
      if (*error.what() == '\0' || std::strchr(error.what(), '\n') != nullptr) std::abort();
    }
  }
  return 0;
}
