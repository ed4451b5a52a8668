#include <algorithm>
#include <cctype>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

#include "core/error.h"
#include "core/random.h"
#include "data/class_folders.h"
#include "data/sources.h"
#include "image/signature.h"

namespace offramp::data::detail {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

std::string_view first_component(std::string_view path) { return path.substr(0, path.find('/')); }
std::string_view after_first_component(std::string_view path) {
  return path.substr(std::min(path.size(), first_component(path).size() + 1));
}

bool is_hidden(std::string_view path) {
  return path.starts_with('.') || path.find("/.") != std::string_view::npos ||
         first_component(path) == "__MACOSX";
}

/// A file or folder of the data set. Its path is relative to the folder that is being examined.
struct Entry {
  std::string_view path;
  std::size_t member = 0;
  bool is_folder = false;

  bool is_direct_file() const { return !is_folder && path.find('/') == std::string_view::npos; }
  bool is_deep_file() const { return !is_folder && path.find('/') != std::string_view::npos; }
};
using Entries = std::vector<Entry>;

/// Maps the name of each folder in a folder to the entries below it.
using Level = std::map<std::string, Entries, std::less<>>;

Level split_level(const Entries& entries) {
  Level level;
  for (const Entry& entry : entries) {
    const std::string_view rest = after_first_component(entry.path);
    if (rest.empty() && !entry.is_folder) continue;
    auto& below = level[std::string(first_component(entry.path))];
    if (!rest.empty()) below.push_back({rest, entry.member, entry.is_folder});
  }
  return level;
}

bool has_direct_file(const Entries& entries) {
  return std::any_of(entries.begin(), entries.end(), std::mem_fn(&Entry::is_direct_file));
}

bool has_deep_file(const Entries& entries) {
  return std::any_of(entries.begin(), entries.end(), std::mem_fn(&Entry::is_deep_file));
}

std::ptrdiff_t count_files(const Entries& entries) {
  return std::count_if(entries.begin(), entries.end(), [](const Entry& e) { return !e.is_folder; });
}

/// Finds the folder of this name, ignoring case; end() if there is none. `name` is in lower case.
Level::const_iterator find_folder(const Level& level, std::string_view name) {
  return std::find_if(level.begin(), level.end(),
                      [&](const auto& folder) { return lower(folder.first) == name; });
}

bool has_class_folders(const Level& level, std::string_view name) {
  const auto folder = find_folder(level, name);
  return folder != level.end() && has_deep_file(folder->second);
}

/// Whether the level has a single folder, and this folder contains the data set rather than the
/// images of one class.
bool is_outer_folder(const Level& top, bool has_images_beside) {
  if (top.size() != 1) return false;
  const Entries& inside = top.begin()->second;
  const Level next = split_level(inside);
  if (has_class_folders(next, "train") || has_class_folders(next, "test")) return true;
  // A folder of test images alone is the test part, not a data set that is split into parts.
  if (has_class_folders(top, "test")) return false;
  const auto with_files = std::count_if(
      next.begin(), next.end(), [](const auto& folder) { return count_files(folder.second) > 0; });
  if (with_files >= 2) return true;
  return !has_images_beside && !has_direct_file(inside) && has_deep_file(inside);
}

/// The class folders of a part.
struct PartLayout {
  Level classes;
  std::string prefix;  ///< path of the part, which image names begin with: "train/"
  std::vector<SkippedImage> misplaced;  ///< images and folders that belong to no class
};

struct Layout {
  PartLayout train, test;
  bool split = false;              ///< false: there are no parts, and `train` has all classes
  std::string test_name = "test";  ///< name of the folder of the test part, in lower case
};

void add_misplaced(const Entries& entries, const std::string& prefix,
                   std::vector<SkippedImage>& misplaced) {
  for (const Entry& entry : entries) {
    if (!entry.is_direct_file()) continue;
    misplaced.push_back({prefix + std::string(entry.path), "not in a class folder"});
  }
}

/// Reports every folder beside train and test that holds images.
void add_other_folders(const Level& top, Level::const_iterator train, Level::const_iterator test,
                       const std::string& test_name, std::vector<SkippedImage>& misplaced) {
  for (auto folder = top.begin(); folder != top.end(); ++folder) {
    const auto files = count_files(folder->second);
    if (folder == train || folder == test || files == 0) continue;
    misplaced.push_back({folder->first, fmt::format("{} image{} not in train or {}", files,
                                                    files == 1 ? "" : "s", test_name)});
  }
}

std::string quoted_names(const Level& level) {
  constexpr std::size_t kMaxNames = 10;
  std::string text;
  std::size_t count = 0;
  for (const auto& folder : level) {
    if (count++ == kMaxNames) return text + ", …";
    text += (text.empty() ? "" : ", ") + core::quote(folder.first);
  }
  return text;
}

PartLayout part_layout(Level::const_iterator folder) {
  PartLayout part{split_level(folder->second), folder->first + "/", {}};
  add_misplaced(folder->second, part.prefix, part.misplaced);
  return part;
}

/// Returns the name of the folder with the test part. Many data sets have only train and val; val
/// is the test part then.
std::string name_of_test_folder(const Level& top) {
  if (find_folder(top, "test") == top.end() && has_class_folders(top, "train")) {
    for (const char* name : {"val", "valid", "validation"}) {
      if (has_class_folders(top, name)) return name;
    }
  }
  return "test";
}

Layout find_layout(Entries entries, Part part) {
  std::vector<SkippedImage> misplaced;
  Level top = split_level(entries);
  add_misplaced(entries, "", misplaced);
  while (is_outer_folder(top, has_direct_file(entries))) {
    entries = Entries(top.begin()->second);
    top = split_level(entries);
    add_misplaced(entries, "", misplaced);
  }
  const auto train = find_folder(top, "train");
  const bool has_train = train != top.end();
  Layout layout;
  layout.test_name = name_of_test_folder(top);
  const auto test = find_folder(top, layout.test_name);
  layout.split = has_class_folders(top, "train") || has_class_folders(top, "test");
  if (layout.split) {
    // A folder of test images alone is enough to test a model.
    if (test == top.end() || (train == top.end() && part == Part::train))
      throw Error(fmt::format("there is no folder \"{}\"; found: {}",
                              test == top.end() ? "test" : "train", quoted_names(top)));
    if (train != top.end()) layout.train = part_layout(train);
    layout.test = part_layout(test);
    add_other_folders(top, train, test, layout.test_name, misplaced);
  } else {
    if (top.size() == 2 && train != top.end() && test != top.end()) {
      throw Error(
          "train and test hold images but no class folders: put the images of each class into "
          "train/<class>/ and test/<class>/");
    }
    layout.train.classes = std::move(top);
  }
  // Images outside both parts are reported with one part only, so that they are counted once.
  auto& reported = layout.split && !has_train ? layout.test.misplaced : layout.train.misplaced;
  reported.insert(reported.begin(), misplaced.begin(), misplaced.end());
  return layout;
}

void check_classes(const Layout& layout) {
  const Level& train = layout.train.classes;
  const Level& test = layout.test.classes;
  const bool test_alone = layout.split && train.empty();
  if (train.empty() && test.empty())
    throw Error(
        "there are images but no class folders: put the images of each class into train/<class>/ "
        "and test/<class>/, or into <class>/ alone");
  if (layout.split && !test_alone) {
    for (const auto& [name, files] : train) {
      if (!test.contains(name))
        throw Error(
            fmt::format("class {} is in train but not in {}", core::quote(name), layout.test_name));
    }
    for (const auto& [name, files] : test) {
      if (!train.contains(name))
        throw Error(
            fmt::format("class {} is in {} but not in train", core::quote(name), layout.test_name));
    }
  }
  const auto check_images = [](const Level& classes, const std::string& where) {
    for (const auto& [name, files] : classes) {
      if (count_files(files) > 0) continue;
      throw Error(fmt::format("class {} holds no {}{}", core::quote(name), image::kFormats, where));
    }
  };
  check_images(train, layout.split ? " in train" : "");
  check_images(test, " in " + layout.test_name);
  const Level& classes = test_alone ? test : train;
  if (classes.size() < 2) {
    throw Error(fmt::format("there is only one class, {}: at least 2 are needed",
                            core::quote(classes.begin()->first)));
  }
}

/// Finds the layout and checks its classes.
/// @param unlisted  folders that could not be listed; the first is named in the error, because it
/// may be the reason why no layout was found
Layout checked_layout(Entries entries, Part part, const std::vector<SkippedImage>& unlisted) {
  try {
    if (count_files(entries) == 0) {
      throw Error(fmt::format("no {} images and no other kind of data set found", image::kFormats));
    }
    Layout layout = find_layout(std::move(entries), part);
    check_classes(layout);
    return layout;
  } catch (const Error& error) {
    if (unlisted.empty()) throw;
    const SkippedImage& first = unlisted.front();
    throw Error(fmt::format("{}; {}: {}", error.what(), core::quote(first.name), first.reason));
  }
}

bool is_part_folder(std::string_view path) {
  const std::string name = lower(path.substr(path.rfind('/') + 1));
  return name == "train" || name == "test";
}

using Item = ImageList::Item;

/// Maps the random number drawn for an image to the number of copies of the image in a class.
using CopyCounts = std::map<std::uint64_t, std::size_t>;

/// Chooses the test part of a class: 1/6 of its images, at least one. An image that an earlier
/// class holds too stays in the part that was chosen there.
void choose_test_part(const CopyCounts& copies, const std::string& name,
                      std::unordered_map<std::uint64_t, Part>& parts) {
  std::size_t images = 0;
  std::size_t test = 0;
  for (const auto& [draw, count] : copies) {
    images += count;
    const auto known = parts.find(draw);
    if (known != parts.end() && known->second == Part::test) test += count;
  }
  const std::size_t target = std::max<std::size_t>(1, (images + 3) / 6);
  for (const auto& [draw, count] : copies) {
    // An image with many copies is not taken, because it could put most of the class into the test
    // part.
    const bool take = test < target && count <= 2 * target;
    const bool is_new = parts.emplace(draw, take ? Part::test : Part::train).second;
    if (is_new && take) test += count;
  }
  if (test == 0 || test == images) {
    throw Error(fmt::format("class {} has too few different images to split off a test part",
                            core::quote(name)));
  }
}

/// Returns those of `images` that belong to one part of a folder that has no train and test
/// folders. The part of an image depends on the seed and the pixels, so renaming a file changes
/// nothing, and copies of an image are in the same part, whichever file or class they are in.
std::vector<std::size_t> choose_part(const std::vector<std::size_t>& images,
                                     const std::vector<Item>& items, const Dataset& dataset,
                                     Part part, std::uint64_t seed) {
  // The first number of KeyedRandom is a bijection of the hash, so different images have different
  // numbers.
  const auto draw = [&](std::size_t i) {
    // The constant makes these numbers differ from those of split_training.
    constexpr std::uint64_t kPurpose = 0x74657374;
    return core::KeyedRandom(seed, dataset.hashes[i], kPurpose).next();
  };
  std::vector<CopyCounts> copies(dataset.classes.size());
  for (const std::size_t i : images) ++copies[static_cast<std::size_t>(items[i].label)][draw(i)];
  std::unordered_map<std::uint64_t, Part> parts;
  for (std::size_t label = 0; label < copies.size(); ++label) {
    choose_test_part(copies[label], dataset.classes[label], parts);
  }
  std::vector<std::size_t> chosen;
  for (const std::size_t i : images) {
    if (parts.at(draw(i)) == part) chosen.push_back(i);
  }
  return chosen;
}

/// Decodes images on several threads and stores them in one array, or keeps their files instead.
class ImageCollector {
 public:
  /// @param files  receives the files of the images; null: the pixels are stored
  ImageCollector(std::span<const Item> items, const LoadOptions& options, LoadedData& loaded,
                 ImageFiles* files)
      : items_(items),
        options_(options),
        loaded_(loaded),
        files_(files),
        problems_(items.size()),
        sizes_(items.size()),
        contents_(files ? items.size() : 0) {
    loaded.dataset.hashes.resize(items.size());
    if (options.width > 0) allocate(options.width, options.height);
  }

  void take(std::size_t i, Content content) {
    problems_[i] = content.problem;
    if (!problems_[i].empty()) return;
    std::unique_lock large(large_images_, std::defer_lock);  // held until `image` is freed
    image::Image image;
    if (!run_for_image(i, [&] { image = decode_in_turn(content.bytes, large); })) return;
    check_same_size(image, items_[i].name);
    run_for_image(i, [&] { store(i, image); });
    if (files_) contents_[i] = std::move(content.bytes);
  }

  /// Returns the indices of the images that could be read, and reports the others as skipped.
  /// @param check_classes  whether it is an error if no image of a class could be read
  std::vector<std::size_t> readable_images(bool check_classes) {
    const std::vector<std::string>& classes = loaded_.dataset.classes;
    std::vector<std::string> problem_of_class(classes.size());
    std::vector<std::int64_t> count(classes.size());
    std::vector<std::size_t> images;
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const auto label = static_cast<std::size_t>(items_[i].label);
      if (problems_[i].empty()) {
        images.push_back(i);
        ++count[label];
        continue;
      }
      loaded_.skipped.push_back({items_[i].name, problems_[i]});
      if (problem_of_class[label].empty()) {
        problem_of_class[label] = fmt::format("{}: {}", core::quote(items_[i].name), problems_[i]);
      }
    }
    if (!check_classes) return images;
    if (images.empty()) {
      throw Error(fmt::format("none of {} images can be read; {}", items_.size(),
                              problem_of_class.front()));
    }
    for (std::size_t label = 0; label < count.size(); ++label) {
      if (count[label] > 0) continue;
      throw Error(fmt::format("class {}: no image can be read; {}", core::quote(classes[label]),
                              problem_of_class[label]));
    }
    return images;
  }

  /// Removes all images but the given ones from the array, and fills in labels, names and sizes.
  /// @param images  increasing indices
  void finish(const std::vector<std::size_t>& images) {
    Dataset& dataset = loaded_.dataset;
    const std::size_t bytes =
        static_cast<std::size_t>(dataset.height) * static_cast<std::size_t>(dataset.width) * 3;
    for (std::size_t kept = 0; kept < images.size(); ++kept) {
      const std::size_t i = images[kept];
      dataset.hashes[kept] = dataset.hashes[i];
      if (files_) {
        const auto* file = reinterpret_cast<const std::uint8_t*>(contents_[i].data());
        files_->bytes.insert(files_->bytes.end(), file, file + contents_[i].size());
        files_->ends.push_back(std::ssize(files_->bytes));
        contents_[i] = {};
      } else if (kept != i) {
        const auto src = dataset.pixels.begin() + static_cast<std::ptrdiff_t>(i * bytes);
        std::copy(src, src + static_cast<std::ptrdiff_t>(bytes),
                  dataset.pixels.begin() + static_cast<std::ptrdiff_t>(kept * bytes));
      }
      dataset.labels.push_back(items_[i].label);
      dataset.names.push_back(items_[i].name);
      loaded_.sizes.add(sizes_[i].first, sizes_[i].second);
    }
    if (!files_) dataset.pixels.resize(images.size() * bytes);
    dataset.hashes.resize(images.size());
    // If the test part was chosen from one folder, five sixths of the images were removed.
    if (images.size() < items_.size() / 2) dataset.pixels.shrink_to_fit();
  }

 private:
  /// Runs `work` for one image. A failure is stored as the image's problem and does not end the
  /// loading of the others. @return whether `work` succeeded
  template <typename Work>
  bool run_for_image(std::size_t i, Work work) {
    try {
      work();
      return true;
    } catch (const Error& error) {
      problems_[i] = error.what();
    } catch (const std::bad_alloc&) {
      problems_[i] = "out of memory";
    }
    return false;
  }

  void store(std::size_t i, const image::Image& image) {
    Dataset& dataset = loaded_.dataset;
    dataset.hashes[i] = image_hash(image.width, image.height, image.rgb);
    sizes_[i] = {image.width, image.height};
    if (files_) return;
    const image::Image sized = image::resize(image, dataset.width, dataset.height, options_.fit);
    std::copy(sized.rgb.begin(), sized.rgb.end(),
              dataset.pixels.begin() + static_cast<std::ptrdiff_t>(i * sized.rgb.size()));
  }

  void allocate(int width, int height) {
    Dataset& dataset = loaded_.dataset;
    dataset.width = width;
    dataset.height = height;
    if (files_) return;
    check_memory(static_cast<std::int64_t>(items_.size()), height, width);
    dataset.pixels.resize(items_.size() * static_cast<std::size_t>(width) *
                          static_cast<std::size_t>(height) * 3);
  }

  void check_same_size(const image::Image& image, const std::string& name) {
    const std::lock_guard lock(mutex_);
    const Dataset& dataset = loaded_.dataset;
    if (dataset.width == 0) {
      allocate(image.width, image.height);
      first_name_ = name;
    } else if (options_.width == 0 &&
               (image.width != dataset.width || image.height != dataset.height)) {
      throw UsageError(
          fmt::format("images differ in size ({} is {}x{}, {} is {}x{}): choose one with "
                      "--image-size",
                      core::quote(first_name_), dataset.width, dataset.height, core::quote(name),
                      image.width, image.height));
    }
  }

  std::span<const Item> items_;
  const LoadOptions& options_;
  LoadedData& loaded_;
  ImageFiles* files_;
  std::vector<std::string> problems_;       // [items] why an image cannot be used; empty if it can
  std::vector<std::pair<int, int>> sizes_;  // [items] width and height before resizing
  std::vector<std::vector<std::byte>>
      contents_;  // [items] their files if these are kept, else none
  std::mutex large_images_;
  std::mutex mutex_;
  std::string first_name_;
};

}  // namespace

ImageList list_images(const FileTree& tree, Part part) {
  const std::vector<Member>& members = tree.members();
  Entries entries;
  std::vector<SkippedImage> unlisted;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Member& member = members[i];
    if (is_hidden(member.path)) continue;
    if (member.is_folder && !member.problem.empty()) {
      // A part that cannot be listed is an error: if it were ignored, the other part would be split
      // in its place.
      if (is_part_folder(member.path))
        throw Error(fmt::format("{}: {}", core::quote(member.path), member.problem));
      // Such a folder is left out of the layout, where it would be a class without images.
      unlisted.push_back({member.path, member.problem});
    } else if (member.is_folder || image::has_image_extension(member.path)) {
      entries.push_back({member.path, i, member.is_folder});
    }
  }
  const Layout layout = checked_layout(std::move(entries), part, unlisted);
  const PartLayout& chosen = layout.split && part == Part::test ? layout.test : layout.train;

  ImageList list;
  list.split = layout.split;
  for (const auto& [name, files] : chosen.classes) {
    list.classes.push_back(class_of_folder(name));
    const auto label = static_cast<std::int64_t>(list.classes.size()) - 1;
    for (const Entry& file : files) {
      if (file.is_folder) continue;
      list.items.push_back(
          {fmt::format("{}{}/{}", chosen.prefix, name, file.path), file.member, label});
    }
  }
  std::sort(list.items.begin(), list.items.end(),
            [](const Item& a, const Item& b) { return a.name < b.name; });
  list.misplaced = chosen.misplaced;
  if (part == Part::train) {
    list.misplaced.insert(list.misplaced.end(), unlisted.begin(), unlisted.end());
  }
  return list;
}

namespace {

/// Reads images of a list and keeps those that `choose` selects of the readable ones.
template <typename Choose>
LoadedData read_chosen(const FileTree& tree, const ImageList& list, std::span<const Item> items,
                       bool check_classes, const LoadOptions& options, ImageFiles* files,
                       const Choose& choose) {
  LoadedData loaded;
  loaded.source = "image folder";
  loaded.dataset.classes = list.classes;
  std::vector<std::size_t> wanted;
  for (const Item& item : items) wanted.push_back(item.member);
  ImageCollector image_collector(items, options, loaded, files);
  tree.read(wanted,
            [&](std::size_t i, Content content) { image_collector.take(i, std::move(content)); });
  image_collector.finish(choose(image_collector.readable_images(check_classes), loaded));
  return loaded;
}

}  // namespace

LoadedData read_images(const FileTree& tree, const ImageList& list, std::size_t begin,
                       std::size_t end, const LoadOptions& options, ImageFiles* files) {
  const auto items = std::span(list.items).subspan(begin, end - begin);
  return read_chosen(tree, list, items, false, options, files,
                     [](std::vector<std::size_t> images, LoadedData&) { return images; });
}

LoadedData load_image_folder(const FileTree& tree, Part part, const LoadOptions& options) {
  const ImageList list = list_images(tree, part);
  LoadedData loaded =
      read_chosen(tree, list, list.items, true, options, nullptr,
                  [&](std::vector<std::size_t> images, LoadedData& read) {
                    if (list.split) return images;
                    return choose_part(images, list.items, read.dataset, part, options.seed);
                  });
  // Both parts of a folder that is not split read the same files, so skipped images are reported
  // for the training part only.
  if (!list.split && part == Part::test)
    loaded.skipped.clear();
  else
    loaded.skipped.insert(loaded.skipped.begin(), list.misplaced.begin(), list.misplaced.end());
  return loaded;
}

}  // namespace offramp::data::detail
