#include <unistd.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/numbers.h"
#include "core/parallel.h"
#include "core/system.h"
#include "data/sources.h"
#include "data/synthetic.h"
#include "image/signature.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;

/// Parses a whole number of the name of a source.
template <typename Number>
Number whole_number(std::string_view source, std::string_view what, std::string_view text) {
  const auto value = core::parse_number<Number>(text);
  if (!value) throw UsageError(fmt::format("{}: the {} must be a whole number", source, what));
  return *value;
}

LoadedData load_synthetic(std::string_view source, Part part, const LoadOptions& options) {
  std::uint64_t seed = options.seed;
  int classes = 10;
  constexpr std::string_view kPrefix = "synthetic:";
  if (source.starts_with(kPrefix)) {
    const std::string_view text = source.substr(kPrefix.size());
    const std::size_t colon = text.find(':');
    seed = whole_number<std::uint64_t>(source, "seed", text.substr(0, colon));
    if (colon != std::string_view::npos)
      classes = whole_number<int>(source, "number of classes", text.substr(colon + 1));
  }
  const int count = part == Part::train ? options.synthetic_train : options.synthetic_test;
  const int height = options.height > 0 ? options.height : 32;
  const int width = options.width > 0 ? options.width : 32;
  LoadedData loaded;
  loaded.dataset = synthetic_data(height, width, count, part, seed, classes);
  loaded.source = fmt::format("synthetic, seed {}", seed);
  if (classes != 10) loaded.source += fmt::format(", {} classes", classes);
  loaded.sizes = {width, width, height, height};
  return loaded;
}

bool is_archive_name(const std::string& name) {
  for (const char* ending : {".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".zip"}) {
    if (name.ends_with(ending)) return true;
  }
  return false;
}

/// Returns the only archive that is directly in a folder; nullopt if there is none or the folder
/// holds image files. @throws Error if there are several archives
std::optional<std::string> only_archive(const detail::FileTree& tree) {
  std::vector<std::string> archives;
  for (const detail::Member& member : tree.members()) {
    if (member.is_folder) continue;
    if (image::has_image_extension(member.path)) return std::nullopt;
    if (member.path.find('/') == std::string::npos && is_archive_name(member.path)) {
      archives.push_back(member.path);
    }
  }
  if (archives.size() > 1) {
    throw Error(fmt::format("several archives ({}, {}): give the path of one of them", archives[0],
                            archives[1]));
  }
  if (archives.empty()) return std::nullopt;
  return archives.front();
}

/// Loads a data set that is recognised by the names of its files (CIFAR or IDX); nullopt if there
/// are none.
std::optional<LoadedData> load_known_files(const detail::FileTree& tree, Part part) {
  if (auto cifar = detail::load_cifar(tree, part)) return cifar;
  return detail::load_idx(tree, part);
}

LoadedData load_tree(const detail::FileTree& tree, Part part, const LoadOptions& options) {
  if (auto files = load_known_files(tree, part)) return std::move(*files);
  return detail::load_image_folder(tree, part, options);
}

LoadedData load_path(const fs::path& path, Part part, const LoadOptions& options) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) throw Error("no such file or folder");
  if (fs::is_directory(status)) {
    if (const auto shards = detail::find_shards(path); !shards.empty())
      return detail::load_packed(shards, part, options.fit);
    const auto tree = detail::open_folder(path);
    if (auto files = load_known_files(*tree, part)) return std::move(*files);
    if (const auto samples = detail::open_sample_tars(path, *tree))
      return detail::load_image_folder(*samples, part, options);
    if (const auto archive = only_archive(*tree)) return load_path(path / *archive, part, options);
    return detail::load_image_folder(*tree, part, options);
  }
  if (!fs::is_regular_file(status)) throw Error("neither a file nor a folder");
  if (fs::file_size(path, error) == 0) throw Error("the file is empty");
  if (detail::is_safetensors(path)) {
    const auto shards = detail::find_shards(path);
    return detail::load_packed(shards.empty() ? std::vector{path} : shards, part, options.fit);
  }
  if (detail::is_idx_name(path.filename().string())) {
    throw Error("this is one file of an IDX data set: give the path of the folder with all four");
  }
  std::shared_ptr<const detail::FileTree> archive = detail::open_archive(path);
  if (detail::has_label_files(*archive)) {
    const std::string name = path.filename().string();
    return detail::load_image_folder(*detail::show_as_class_folders({{name, archive}}), part,
                                     options);
  }
  return load_tree(*archive, part, options);
}

/// Resizes all images of a data set: now if they are in memory, else whenever one is accessed.
void resize_all(Dataset& dataset, int width, int height, core::Fit fit) {
  if (dataset.width == width && dataset.height == height) return;
  if (dataset.stored) {
    dataset.stored = detail::resized_store(std::move(dataset.stored), dataset.width, dataset.height,
                                           width, height, fit);
    dataset.width = width;
    dataset.height = height;
    return;
  }
  detail::check_memory(dataset.size(), height, width);
  const std::size_t bytes = static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3;
  std::vector<std::uint8_t> pixels(bytes * dataset.labels.size());
  core::parallel_for(dataset.labels.size(), [&](std::size_t i) {
    const auto src = dataset.image(static_cast<std::int64_t>(i));
    const image::Image image{dataset.width, dataset.height, {src.begin(), src.end()}};
    const image::Image sized = image::resize(image, width, height, fit);
    std::copy(sized.rgb.begin(), sized.rgb.end(),
              pixels.begin() + static_cast<std::ptrdiff_t>(i * bytes));
  });
  dataset.pixels = std::move(pixels);
  dataset.width = width;
  dataset.height = height;
}

LoadedData load_in_own_order(const std::string& source, Part part, const LoadOptions& options) {
  if ((options.height > 0) != (options.width > 0) || options.height < 0 || options.width < 0) {
    throw UsageError(fmt::format("image size {}x{}: both sides must be given, or neither",
                                 options.width, options.height));
  }
  if (source == "synthetic" || source.starts_with("synthetic:")) {
    return load_synthetic(source, part, options);
  }
  try {
    LoadedData loaded = load_path(source, part, options);
    if (options.width > 0) {
      resize_all(loaded.dataset, options.width, options.height, options.fit);
    }
    return loaded;
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.starts_with(source + ": ") || message.starts_with(source + "/")) throw;
    core::throw_with_place(source, error);
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("{}: {}", source, error.code().message()));
  }
}

/// Renumbers the classes of a data set, if they are these in another order.
void number_classes_as(const std::vector<std::string>& classes, Dataset& dataset) {
  if (classes == dataset.classes || !std::ranges::is_permutation(classes, dataset.classes)) return;
  std::vector<std::int64_t> number_of(classes.size());
  for (std::size_t i = 0; i < classes.size(); ++i)
    number_of[i] = std::ranges::find(classes, dataset.classes[i]) - classes.begin();
  for (std::int64_t& label : dataset.labels) label = number_of[static_cast<std::size_t>(label)];
  dataset.classes = classes;
}

}  // namespace

void SizeRange::add(int width, int height) {
  min_width = min_width == 0 ? width : std::min(min_width, width);
  max_width = std::max(max_width, width);
  min_height = min_height == 0 ? height : std::min(min_height, height);
  max_height = std::max(max_height, height);
}

std::unique_ptr<detail::FileTree> detail::open_sample_tars(const fs::path& folder,
                                                           const FileTree& tree) {
  std::vector<detail::Tar> tars;
  for (const detail::Member& member : tree.members()) {
    if (member.is_folder || member.path.find('/') != std::string::npos) continue;
    if (is_archive_name(member.path)) tars.push_back({member.path, nullptr});
  }
  if (tars.size() < 2) return nullptr;
  for (detail::Tar& tar : tars) {
    try {
      tar.files = detail::open_archive(folder / tar.name);
    } catch (const Error& error) {
      core::throw_with_place(tar.name, error);
    }
    if (!detail::has_label_files(*tar.files)) return nullptr;
  }
  return detail::show_as_class_folders(std::move(tars));
}

void detail::check_memory(std::int64_t images, int height, int width) {
  const double need = static_cast<double>(images) * height * width * 3;
  const auto have = static_cast<double>(core::usable_memory());
  if (need <= have) return;
  throw Error(fmt::format(
      "{} images of {}x{} pixels need {:.1f} GiB of memory, this process may use {:.1f} GiB",
      images, width, height, need / (1 << 30), have / (1 << 30)));
}

LoadedData load_data(const std::string& source, Part part, const LoadOptions& options) {
  LoadedData loaded = load_in_own_order(source, part, options);
  number_classes_as(options.classes, loaded.dataset);
  return loaded;
}

}  // namespace offramp::data
