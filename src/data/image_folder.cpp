#include <algorithm>
#include <cctype>
#include <map>
#include <mutex>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/random.h"
#include "data/sources.h"

namespace offramp::detail {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

std::string_view first_part(std::string_view path) { return path.substr(0, path.find('/')); }
std::string_view after_first_part(std::string_view path) {
  return path.substr(std::min(path.size(), first_part(path).size() + 1));
}

bool is_hidden(std::string_view path) {
  return path.starts_with('.') || path.find("/.") != std::string_view::npos ||
         first_part(path) == "__MACOSX";
}

/// A file or folder as the layout sees it: the path without folders around the data set.
struct Entry {
  std::string_view path;
  std::size_t member = 0;
  bool is_folder = false;
};

/// Folders of a level by name, with what lies below them.
using Level = std::map<std::string, std::vector<Entry>, std::less<>>;

Level split_level(const std::vector<Entry>& entries) {
  Level level;
  for (const Entry& entry : entries) {
    const std::string_view rest = after_first_part(entry.path);
    if (rest.empty() && !entry.is_folder) continue;
    auto& below = level[std::string(first_part(entry.path))];
    if (!rest.empty()) below.push_back({rest, entry.member, entry.is_folder});
  }
  return level;
}

bool has_direct_file(const std::vector<Entry>& entries) {
  return std::any_of(entries.begin(), entries.end(), [](const Entry& entry) {
    return !entry.is_folder && entry.path.find('/') == std::string_view::npos;
  });
}

bool has_deep_file(const std::vector<Entry>& entries) {
  return std::any_of(entries.begin(), entries.end(), [](const Entry& entry) {
    return !entry.is_folder && entry.path.find('/') != std::string_view::npos;
  });
}

/// Class folders of each part; `test` is empty if one folder serves both.
struct Layout {
  Level train, test;
  std::string train_prefix, test_prefix;
  std::vector<SkippedImage> strays;  ///< images outside class folders
  bool split = false;
};

Layout find_layout(std::vector<Entry> entries) {
  Layout layout;
  Level top = split_level(entries);
  while (top.size() == 1 && !has_direct_file(entries) && !has_direct_file(top.begin()->second) &&
         has_deep_file(top.begin()->second)) {
    entries = top.begin()->second;
    top = split_level(entries);
  }
  const auto named = [&](std::string_view name) {
    return std::find_if(top.begin(), top.end(), [&](auto& f) { return lower(f.first) == name; });
  };
  const auto train = named("train");
  const auto test = named("test");
  const auto holds_classes = [&](Level::iterator folder) {
    return folder != top.end() && has_deep_file(folder->second);
  };
  if (holds_classes(train) || holds_classes(test)) {
    for (const auto& [folder, name] : {std::pair{train, "train"}, std::pair{test, "test"}}) {
      if (folder != top.end()) continue;
      std::string found;
      for (const auto& entry : top) found += (found.empty() ? "" : ", ") + entry.first;
      throw Error("no folder \"{}\" beside: {}", name, found);
    }
    layout.split = true;
    layout.train = split_level(train->second);
    layout.test = split_level(test->second);
    layout.train_prefix = train->first + "/";
    layout.test_prefix = test->first + "/";
    for (const auto& folder : {train, test}) {
      for (const Entry& entry : folder->second) {
        if (entry.is_folder || entry.path.find('/') != std::string_view::npos) continue;
        layout.strays.push_back(
            {fmt::format("{}/{}", folder->first, entry.path), "not in a class folder"});
      }
    }
    return layout;
  }
  if (top.size() == 2 && train != top.end() && test != top.end()) {
    throw Error("train and test hold images but no class folders");
  }
  layout.train = std::move(top);
  for (const Entry& entry : entries) {
    if (entry.is_folder || entry.path.find('/') != std::string_view::npos) continue;
    layout.strays.push_back({std::string(entry.path), "not in a class folder"});
  }
  return layout;
}

void check_classes(const Layout& layout) {
  if (layout.split) {
    for (const auto& [name, files] : layout.train) {
      if (!layout.test.contains(name)) throw Error("class \"{}\" is in train, not in test", name);
    }
    for (const auto& [name, files] : layout.test) {
      if (!layout.train.contains(name)) throw Error("class \"{}\" is in test, not in train", name);
    }
  }
  const auto check_images = [](const Level& classes, const std::string& where) {
    for (const auto& [name, files] : classes) {
      if (std::all_of(files.begin(), files.end(), [](const Entry& f) { return f.is_folder; })) {
        throw Error("class \"{}\" holds no JPEG or PNG{}", name, where);
      }
    }
  };
  check_images(layout.train, layout.split ? " in train" : "");
  check_images(layout.test, " in test");
  if (layout.train.size() < 2) {
    throw Error("one class only, \"{}\": at least two are needed", layout.train.begin()->first);
  }
}

/// An image to load.
struct Item {
  std::string name;
  std::size_t member = 0;
  std::int64_t label = 0;
};

/// Keeps one part of each class: 1/6, at least one image, for test. Chosen by seed and file
/// content, so renaming changes nothing and copies of a file stay in one part.
std::vector<Item> choose_part(const FileTree& tree, const std::vector<Item>& items,
                              std::int64_t num_classes, const std::vector<std::string>& classes,
                              Part part, std::uint64_t seed) {
  std::vector<std::size_t> members;
  for (const Item& item : items) members.push_back(item.member);
  std::vector<std::uint64_t> keys(items.size());
  tree.read(members, [&](std::size_t i, const Content& content) {
    constexpr std::uint64_t kPurpose = 0x74657374;  // apart from split_training's draw
    keys[i] = KeyedRandom(seed, content_hash(content.bytes), kPurpose).next();
  });
  std::vector<Item> kept;
  for (std::int64_t label = 0; label < num_classes; ++label) {
    std::vector<std::uint64_t> sorted;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].label == label) sorted.push_back(keys[i]);
    }
    std::sort(sorted.begin(), sorted.end());
    const std::size_t count = std::max<std::size_t>(1, (sorted.size() + 3) / 6);
    const std::uint64_t last = sorted[count - 1];
    if (sorted.back() == last) {
      throw Error("class \"{}\" has too few different images to split off a test part",
                  classes[static_cast<std::size_t>(label)]);
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].label == label && (keys[i] <= last) == (part == Part::test)) {
        kept.push_back(items[i]);
      }
    }
  }
  return kept;
}

/// Takes decoded images from several threads into one array.
class Collector {
 public:
  Collector(const std::vector<Item>& items, const LoadOptions& options, LoadedData& loaded)
      : items_(items), options_(options), loaded_(loaded), problems_(items.size()) {
    Dataset& dataset = loaded.dataset;
    dataset.hashes.resize(items.size());
    if (options.width > 0) allocate(options.width, options.height);
  }

  void take(std::size_t i, const Content& content) {
    if (!content.problem.empty()) {
      problems_[i] = content.problem;
      return;
    }
    Image image;
    try {
      image = decode_image(content.bytes);
    } catch (const Error& error) {
      problems_[i] = error.what();
      return;
    }
    const std::uint64_t hash = image_hash(image.width, image.height, image.rgb);
    note_size(image, items_[i].name);
    Dataset& dataset = loaded_.dataset;
    const Image sized = resize(image, dataset.width, dataset.height, options_.fit);
    std::copy(sized.rgb.begin(), sized.rgb.end(),
              dataset.pixels.begin() + static_cast<std::ptrdiff_t>(i * sized.rgb.size()));
    dataset.hashes[i] = hash;
  }

  /// Closes the gaps that damaged images have left, and fills in labels and names.
  void finish() {
    Dataset& dataset = loaded_.dataset;
    const std::size_t bytes =
        static_cast<std::size_t>(dataset.height) * static_cast<std::size_t>(dataset.width) * 3;
    std::vector<std::string> problem_of_class(dataset.classes.size());
    std::vector<std::int64_t> count(dataset.classes.size());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const auto label = static_cast<std::size_t>(items_[i].label);
      if (!problems_[i].empty()) {
        if (problem_of_class[label].empty()) {
          problem_of_class[label] = fmt::format("{}: {}", items_[i].name, problems_[i]);
        }
        loaded_.skipped.push_back({items_[i].name, problems_[i]});
        continue;
      }
      if (kept != i) {
        const auto src = dataset.pixels.begin() + static_cast<std::ptrdiff_t>(i * bytes);
        std::copy(src, src + static_cast<std::ptrdiff_t>(bytes),
                  dataset.pixels.begin() + static_cast<std::ptrdiff_t>(kept * bytes));
        dataset.hashes[kept] = dataset.hashes[i];
      }
      dataset.labels.push_back(items_[i].label);
      dataset.names.push_back(items_[i].name);
      ++count[label];
      ++kept;
    }
    if (kept == 0) {
      throw Error("none of {} images can be read; {}: {}", items_.size(),
                  loaded_.skipped.front().name, loaded_.skipped.front().reason);
    }
    for (std::size_t label = 0; label < count.size(); ++label) {
      if (count[label] > 0) continue;
      throw Error("class \"{}\": no image can be read; {}", dataset.classes[label],
                  problem_of_class[label]);
    }
    dataset.pixels.resize(kept * bytes);
    dataset.hashes.resize(kept);
  }

 private:
  void allocate(int width, int height) {
    check_memory(static_cast<std::int64_t>(items_.size()), height, width);
    Dataset& dataset = loaded_.dataset;
    dataset.width = width;
    dataset.height = height;
    dataset.pixels.resize(items_.size() * static_cast<std::size_t>(width) *
                          static_cast<std::size_t>(height) * 3);
  }

  void note_size(const Image& image, const std::string& name) {
    const std::lock_guard lock(mutex_);
    const Dataset& dataset = loaded_.dataset;
    if (dataset.width == 0) {
      allocate(image.width, image.height);
      first_name_ = name;
    } else if (options_.width == 0 &&
               (image.width != dataset.width || image.height != dataset.height)) {
      throw UsageError(
          "images differ in size ({} is {}x{}, {} is {}x{}): choose one with "
          "--image-size",
          first_name_, dataset.width, dataset.height, name, image.width, image.height);
    }
    loaded_.sizes.add(image.width, image.height);
  }

  const std::vector<Item>& items_;
  const LoadOptions& options_;
  LoadedData& loaded_;
  std::vector<std::string> problems_;  // [items] empty: the image is good
  std::mutex mutex_;
  std::string first_name_;
};

}  // namespace

bool has_image_extension(std::string_view name) {
  const std::string text = lower(name);
  return text.ends_with(".jpg") || text.ends_with(".jpeg") || text.ends_with(".png");
}

LoadedData load_image_folder(const FileTree& tree, Part part, const LoadOptions& options) {
  const std::vector<Member>& members = tree.members();
  std::vector<Entry> entries;
  bool any_image = false;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Member& member = members[i];
    if (is_hidden(member.path)) continue;
    if (!member.is_folder && !has_image_extension(member.path)) continue;
    any_image = any_image || !member.is_folder;
    entries.push_back({member.path, i, member.is_folder});
  }
  if (!any_image) throw Error("no JPEG or PNG images, nor another kind of data set");

  const Layout layout = find_layout(std::move(entries));
  if (layout.train.empty()) throw Error("images, but no class folders");
  check_classes(layout);
  const bool from_test = layout.split && part == Part::test;
  const Level& level = from_test ? layout.test : layout.train;
  const std::string& prefix = from_test ? layout.test_prefix : layout.train_prefix;

  LoadedData loaded;
  loaded.source = "image folder";
  std::vector<Item> items;
  for (const auto& [name, files] : level) {
    loaded.dataset.classes.push_back(name);
    const auto label = static_cast<std::int64_t>(loaded.dataset.classes.size()) - 1;
    for (const Entry& file : files) {
      if (file.is_folder) continue;
      items.push_back({fmt::format("{}{}/{}", prefix, name, file.path), file.member, label});
    }
  }
  if (!layout.split) {
    items = choose_part(tree, items, static_cast<std::int64_t>(level.size()),
                        loaded.dataset.classes, part, options.seed);
  }
  std::sort(items.begin(), items.end(),
            [](const Item& a, const Item& b) { return a.name < b.name; });
  for (const SkippedImage& stray : layout.strays) {
    if (stray.name.starts_with(prefix)) loaded.skipped.push_back(stray);
  }
  std::vector<std::size_t> wanted;
  for (const Item& item : items) wanted.push_back(item.member);
  Collector collector(items, options, loaded);
  tree.read(wanted, [&](std::size_t i, const Content& content) { collector.take(i, content); });
  collector.finish();
  return loaded;
}

}  // namespace offramp::detail
