#include "data/import_shards.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/safetensors.h"
#include "data/sources.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using detail::FileTree;
using detail::ImageList;

constexpr const char* kImportKey = "import";

/// The images of one shard in the lists of both parts.
struct Range {
  std::size_t begin = 0, end = 0;
};

Range range_of(std::size_t count, std::size_t shard, std::size_t shards) {
  return {count * shard / shards, count * (shard + 1) / shards};
}

/// Identifies the images of a shard by their files and how they are read.
std::string fingerprint(const FileTree& tree, const ImageList& train, Range of_train,
                        const ImageList& test, Range of_test, const LoadOptions& options,
                        bool keep_files) {
  core::HashOfValues hash;
  for (const std::string& name : train.classes) hash.add(name);
  for (const auto& [list, range] : {std::pair(&train, of_train), std::pair(&test, of_test)}) {
    hash.add(fmt::format("{} images", range.end - range.begin));
    for (std::size_t i = range.begin; i < range.end; ++i) {
      const ImageList::Item& item = list->items[i];
      hash.add(item.name);
      hash.add(fmt::to_string(tree.members()[item.member].bytes));
    }
  }
  hash.add(fmt::format("{}x{} {}", options.width, options.height, static_cast<int>(options.fit)));
  if (keep_files) hash.add("files");
  return hash.text();
}

/// Whether a file is a complete shard of these images. write_packed never leaves a part of a file.
bool is_written(const fs::path& path, const std::string& fingerprint) {
  if (!fs::exists(path) || !detail::is_safetensors(path)) return false;
  const core::Safetensors file = core::Safetensors::open(path);
  const auto found = file.metadata().find(kImportKey);
  return found != file.metadata().end() && found->second == fingerprint;
}

/// Returns the size at which images are loaded: that of the options, or that of the first image
/// that can be read. All must have it then, which read_images checks for each shard.
LoadOptions with_size(const FileTree& tree, const ImageList& list, LoadOptions options) {
  constexpr std::size_t kTried = 100;
  for (std::size_t i = 0; i < std::min(kTried, list.items.size()) && options.width == 0; ++i) {
    const LoadedData first = detail::read_images(tree, list, i, i + 1, options);
    if (first.dataset.size() == 0) continue;
    options.width = first.dataset.width;
    options.height = first.dataset.height;
  }
  if (options.width == 0)
    throw Error("none of the first images can be read: give their size with --image-size");
  return options;
}

/// Checks that no image had to be resized if no size was asked for.
void check_one_size(const LoadedData& data, const LoadOptions& asked, const LoadOptions& used) {
  const SizeRange one = {used.width, used.width, used.height, used.height};
  if (asked.width > 0 || data.dataset.size() == 0 || data.sizes == one) return;
  throw UsageError(fmt::format(
      "images differ in size (width {} to {}, height {} to {}): choose one with --image-size",
      data.sizes.min_width, data.sizes.max_width, data.sizes.min_height, data.sizes.max_height));
}

void check_classes(const LoadedData& data, const char* part) {
  std::vector<std::int64_t> count(data.dataset.classes.size());
  for (const std::int64_t label : data.dataset.labels) ++count[static_cast<std::size_t>(label)];
  for (std::size_t label = 0; label < count.size(); ++label)
    if (count[label] == 0)
      throw Error(fmt::format("class {}: no image can be read in {}",
                              core::quote(data.dataset.classes[label]), part));
}

/// Refuses a folder with files that are not shards of this import, which would be a mixed data set.
void check_folder(const fs::path& folder, const std::vector<fs::path>& shards) {
  if (!fs::exists(folder)) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (std::ranges::find(shards, entry.path()) == shards.end() &&
        !core::is_temporary(entry.path()))
      throw Error(
          fmt::format("{}: holds {}, which is not a shard of this import; choose another folder",
                      folder.string(), core::quote(entry.path().filename().string())));
}

ImportedShards import_tree(const FileTree& tree, const fs::path& folder,
                           const ShardOptions& options) {
  const ImageList train = detail::list_images(tree, Part::train);
  if (!train.split)
    throw Error(
        "there are no folders train and test; their images are chosen from all, so this source "
        "cannot be imported in shards");
  const ImageList test = detail::list_images(tree, Part::test);
  const std::size_t total = train.items.size() + test.items.size();
  const auto per_shard = static_cast<std::size_t>(options.images_per_shard);
  const std::size_t shards = (total + per_shard - 1) / per_shard;
  std::vector<fs::path> paths;
  for (std::size_t shard = 0; shard < shards; ++shard)
    paths.push_back(folder / fmt::format("{}-{:05}-of-{:05}.offramp", folder.filename().string(),
                                         shard, shards));
  check_folder(folder, paths);
  fs::create_directories(folder);
  core::remove_leftovers(folder);
  const LoadOptions load = with_size(tree, train, options.load);
  ImportedShards result;
  result.shards = static_cast<int>(shards);
  for (std::size_t shard = 0; shard < shards; ++shard) {
    const Range of_train = range_of(train.items.size(), shard, shards);
    const Range of_test = range_of(test.items.size(), shard, shards);
    const std::string print =
        fingerprint(tree, train, of_train, test, of_test, load, options.keep_files);
    if (is_written(paths[shard], print)) {
      ++result.kept;
    } else {
      std::optional<detail::FilesOfParts> files;
      if (options.keep_files) files.emplace();
      LoadedData a = detail::read_images(tree, train, of_train.begin, of_train.end, load,
                                         files ? &files->train : nullptr);
      LoadedData b = detail::read_images(tree, test, of_test.begin, of_test.end, load,
                                         files ? &files->test : nullptr);
      check_one_size(a, options.load, load);
      check_one_size(b, options.load, load);
      if (shard == 0) {
        a.skipped.insert(a.skipped.begin(), train.misplaced.begin(), train.misplaced.end());
        b.skipped.insert(b.skipped.begin(), test.misplaced.begin(), test.misplaced.end());
      }
      detail::write_packed(paths[shard], a, b, {{kImportKey, print}}, files);
    }
    if (options.progress)
      options.progress(static_cast<std::int64_t>(of_train.end + of_test.end),
                       static_cast<std::int64_t>(total));
  }
  const LoadedData a = detail::load_packed(paths, Part::train, load.fit);
  const LoadedData b = detail::load_packed(paths, Part::test, load.fit);
  check_classes(a, "train");
  check_classes(b, "test");
  result.train = a.dataset.size();
  result.test = b.dataset.size();
  result.skipped = std::ssize(a.skipped) + std::ssize(b.skipped);
  return result;
}

}  // namespace

ImportedShards import_shards(const std::string& source, const fs::path& folder,
                             const ShardOptions& options) {
  if (options.images_per_shard < 1)
    throw UsageError(
        fmt::format("a shard must have 1 image or more: got {}", options.images_per_shard));
  if (options.keep_files && options.load.fit != core::Fit::squeeze)
    throw UsageError(
        "image files that are kept are resized when they are loaded: leave out the fit here, and "
        "give it to the command that loads them");
  try {
    if (!fs::is_directory(source))
      throw Error("only a folder can be imported in shards: unpack it first");
    const auto tree = detail::open_folder(source);
    if (const auto samples = detail::open_sample_tars(source, *tree))
      return import_tree(*samples, folder, options);
    return import_tree(*tree, folder, options);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.starts_with(source) || message.starts_with(folder.string())) throw;
    core::throw_with_place(source, error);
  }
}

}  // namespace offramp::data
