#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "core/error.h"
#include "data/dataset.h"
#include "data/sources.h"
#include "tests/fuzz/memory_file.h"

// Any bytes are either read as an archive of training data or refused with an Error of one line.
// No member's path leads outside the archive. Images become data sets whose arrays fit together.

namespace {

using namespace offramp;

constexpr std::uint64_t kEntryBytes = 1 << 20, kTotalBytes = 4 << 20;

void check(const data::LoadedData& loaded) {
  const data::Dataset& dataset = loaded.dataset;
  const auto images = static_cast<std::size_t>(dataset.size());
  const std::size_t bytes = images * static_cast<std::size_t>(dataset.height) *
                            static_cast<std::size_t>(dataset.width) * 3;
  if (images == 0 || dataset.pixels.size() != bytes || dataset.hashes.size() != images)
    std::abort();
  for (const std::int64_t label : dataset.labels)
    if (label < 0 || label >= static_cast<std::int64_t>(dataset.classes.size())) std::abort();
}

void check(const data::detail::Member& member) {
  const std::string_view path = member.path;
  if (path.empty() || path.front() == '/' || path == ".." || path.starts_with("../") ||
      path.ends_with("/..") || path.find("/../") != path.npos)
    std::abort();
}

template <typename Load>
void load(const Load& load_part) {
  try {
    load_part();
  } catch (const Error& error) {
    if (*error.what() == '\0' || std::strchr(error.what(), '\n') != nullptr) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile file(data, size);
  std::unique_ptr<data::detail::FileTree> tree;
  load([&] {
    tree = data::detail::open_archive(file.path(), {.max_entry_bytes = kEntryBytes,
                                                    .max_total_bytes = kTotalBytes,
                                                    .max_entries = 100,
                                                    .max_name_bytes = 100'000});
  });
  if (tree == nullptr) return 0;
  for (const auto& member : tree->members()) check(member);
  for (const auto part : {data::Part::train, data::Part::test}) {
    load([&] {
      if (const auto loaded = data::detail::load_cifar(*tree, part, 2)) check(*loaded);
    });
    load([&] {
      if (const auto loaded = data::detail::load_idx(*tree, part)) check(*loaded);
    });
    load([&] { check(data::detail::load_image_folder(*tree, part, {.height = 4, .width = 3})); });
  }
  return 0;
}
