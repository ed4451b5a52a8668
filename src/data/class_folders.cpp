#include "data/class_folders.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/text.h"

namespace offramp::data {
namespace {

constexpr std::string_view kSlash = "%2F";

}  // namespace

std::string folder_of_class(std::string_view name) {
  std::string folder;
  for (const char c : name) folder += c == '/' ? std::string(kSlash) : std::string(1, c);
  const bool usable = !folder.empty() && folder.front() != '.' && folder.size() < 256 &&
                      name.find(kSlash) == name.npos && std::ranges::none_of(folder, [](char c) {
                        return c == '\\' || static_cast<unsigned char>(c) < 0x20;
                      });
  if (!usable)
    throw Error(fmt::format("class {} cannot be the name of a folder", core::quote(name)));
  return folder;
}

std::string class_of_folder(std::string_view folder) {
  std::string name(folder);
  for (std::size_t at = name.find(kSlash); at != name.npos; at = name.find(kSlash, at + 1))
    name.replace(at, kSlash.size(), "/");
  return name;
}

}  // namespace offramp::data
