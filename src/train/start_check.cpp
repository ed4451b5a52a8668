#include "train/start_check.h"

#include <algorithm>
#include <array>
#include <span>
#include <sstream>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/hash.h"
#include "core/version.h"

namespace offramp::train {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Returns the settings of a recipe, one per line, with the table before the key.
std::string settings_text(const recipe::Recipe& recipe) {
  constexpr std::array<std::string_view, 5> kMayDiffer = {
      "data.source ", "train.threads ", "train.device ", "train.from ", "train.checkpoint_every "};
  std::string text, table;
  for (const std::string& line : lines_of(recipe::to_toml(recipe))) {
    if (line.starts_with('[')) table = line.substr(1, line.find(']') - 1) + ".";
    if (line.find('=') == std::string::npos) continue;
    const std::string setting = table + line;
    const auto may_differ = [&](std::string_view key) { return setting.starts_with(key); };
    if (!std::ranges::any_of(kMayDiffer, may_differ)) text += setting + "\n";
  }
  return text;
}

}  // namespace

std::string describe_start(const recipe::Recipe& recipe, const data::Dataset& data) {
  core::HashOfValues hash;
  for (const std::string& name : data.classes) hash.add(name);
  hash.add(std::as_bytes(std::span(data.labels)));
  hash.add(std::as_bytes(std::span(data.hashes)));
  return fmt::format("offramp {} ({})\n{}data: {} images of {} classes, {}x{}, hash {}\n",
                     core::kVersion, core::kCommit, settings_text(recipe), data.size(),
                     data.classes.size(), data.width, data.height, hash.text());
}

void check_same_start(ProcessGroup& group, const std::string& description) {
  const std::vector<std::string> all = group.gather(description);
  group.agree([&] {
    const std::vector<std::string> first = lines_of(all[0]);
    for (std::size_t rank = 1; rank < all.size(); ++rank) {
      const std::vector<std::string> own = lines_of(all[rank]);
      const std::size_t count = std::max(first.size(), own.size());
      for (std::size_t i = 0; i < count; ++i) {
        const std::string here = i < own.size() ? own[i] : "nothing";
        const std::string there = i < first.size() ? first[i] : "nothing";
        if (here != there)
          throw Error(fmt::format("rank {} differs from rank 0: it has {}, rank 0 has {}", rank,
                                  core::quote(here), core::quote(there)));
      }
    }
  });
}

}  // namespace offramp::train
