#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <regex>
#include <set>

#include "core/error.h"
#include "core/parallel.h"
#include "core/safetensors.h"
#include "data/image_stores.h"
#include "data/sources.h"
#include "image/image.h"

namespace offramp::data {
namespace {

using detail::ImageFiles;

constexpr std::string_view kFormat = "offramp-data 1";
/// A file that holds the files of its images instead of their pixels.
constexpr std::string_view kFormatOfFiles = "offramp-data 2";

/// Stores texts in one tensor, each followed by a zero byte. They are not stored in the JSON header
/// because 60,000 names there would be slow to read.
core::HostTensor pack_texts(const std::vector<std::string>& texts) {
  std::vector<std::uint8_t> bytes;
  for (const std::string& text : texts) {
    for (const char c : text) {
      if (c != '\0') bytes.push_back(static_cast<std::uint8_t>(c));
    }
    bytes.push_back(0);
  }
  return core::HostTensor::of({static_cast<std::int64_t>(bytes.size())},
                              std::span<const std::uint8_t>(bytes));
}

const core::TensorView& tensor(const core::Safetensors& file, const std::string& name,
                               core::DType dtype, std::size_t dimensions) {
  const core::TensorView& view = file.at(name);
  if (view.dtype != dtype || view.shape.size() != dimensions) {
    throw Error(fmt::format("tensor \"{}\": {}{}, expected {} with {} dimensions", name,
                            core::to_string(view.dtype), core::to_string(std::span(view.shape)),
                            to_string(dtype), dimensions));
  }
  return view;
}

std::vector<std::string> unpack_texts(const core::Safetensors& file, const std::string& name) {
  const core::TensorView& view = tensor(file, name, core::DType::u8, 1);
  const auto* text = reinterpret_cast<const char*>(view.bytes.data());
  const std::size_t size = view.bytes.size();
  if (size > 0 && text[size - 1] != '\0') {
    throw Error(fmt::format("tensor \"{}\": the last text is not followed by a zero byte", name));
  }
  std::vector<std::string> texts;
  for (std::size_t begin = 0; begin < size;) {
    texts.emplace_back(text + begin);
    begin += texts.back().size() + 1;
  }
  return texts;
}

template <typename T>
std::vector<T> values(const core::Safetensors& file, const std::string& name, core::DType dtype,
                      std::int64_t count) {
  const core::TensorView& view = tensor(file, name, dtype, 1);
  if (view.shape[0] != count) {
    throw Error(fmt::format("tensor \"{}\": {} values, expected {}", name, view.shape[0], count));
  }
  std::vector<T> result(static_cast<std::size_t>(count));
  if (!result.empty()) std::memcpy(result.data(), view.bytes.data(), view.bytes.size());
  return result;
}

void add_pixels(core::Tensors& tensors, const std::string& part, const Dataset& dataset) {
  tensors[part + ".pixels"] =
      core::HostTensor::of({dataset.size(), dataset.height, dataset.width, 3},
                           std::span<const std::uint8_t>(copy_pixels(dataset)));
}

void add_files(core::Tensors& tensors, const std::string& part, const ImageFiles& files) {
  tensors[part + ".files"] =
      core::HostTensor::of({std::ssize(files.bytes)}, std::span<const std::uint8_t>(files.bytes));
  tensors[part + ".ends"] =
      core::HostTensor::of({std::ssize(files.ends)}, std::span<const std::int64_t>(files.ends));
}

/// Adds all of a part but its images.
void add_part(core::Tensors& tensors, const std::string& part, const LoadedData& data) {
  const Dataset& dataset = data.dataset;
  tensors[part + ".labels"] =
      core::HostTensor::of({dataset.size()}, std::span<const std::int64_t>(dataset.labels));
  tensors[part + ".hashes"] =
      core::HostTensor::of({dataset.size()}, std::span<const std::uint64_t>(dataset.hashes));
  tensors[part + ".names"] = pack_texts(dataset.names);
  std::vector<std::string> skipped;
  for (const SkippedImage& image : data.skipped) {
    skipped.push_back(image.name);
    skipped.push_back(image.reason);
  }
  tensors[part + ".skipped"] = pack_texts(skipped);
  const std::vector<std::int64_t> sizes = {data.sizes.min_width, data.sizes.max_width,
                                           data.sizes.min_height, data.sizes.max_height};
  tensors[part + ".sizes"] = core::HostTensor::of({4}, std::span<const std::int64_t>(sizes));
}

std::vector<std::string> read_classes(const core::Safetensors& file) {
  std::vector<std::string> classes = unpack_texts(file, "classes");
  const std::set<std::string> different(classes.begin(), classes.end());
  if (classes.empty() || different.size() != classes.size()) {
    throw Error("tensor \"classes\": there is no class, or two have the same name");
  }
  return classes;
}

constexpr std::int64_t kMaxSide = 1 << 20;

const core::TensorView& checked_pixels(const core::Safetensors& file, const std::string& part) {
  const std::string pixels_name = part + ".pixels";
  const core::TensorView& pixels = tensor(file, pixels_name, core::DType::u8, 4);
  if (pixels.shape[3] != 3 || pixels.shape[1] < 1 || pixels.shape[2] < 1 ||
      pixels.shape[1] > kMaxSide || pixels.shape[2] > kMaxSide) {
    throw Error(fmt::format("tensor \"{}.pixels\": shape {}, expected [N, height, width, 3]", part,
                            core::to_string(std::span(pixels.shape))));
  }
  return pixels;
}

template <typename T>
void append(std::vector<T>& all, std::vector<T> more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

/// Appends a part of one file, all but its pixels, to `data`, which has the classes already.
void append_part(const core::Safetensors& file, const std::string& part, std::int64_t count,
                 LoadedData& data) {
  Dataset& dataset = data.dataset;
  const auto labels = values<std::int64_t>(file, part + ".labels", core::DType::i64, count);
  for (const std::int64_t label : labels) {
    if (label >= 0 && label < static_cast<std::int64_t>(dataset.classes.size())) continue;
    throw Error(fmt::format("tensor \"{}.labels\": label {}, expected 0 to {}", part, label,
                            dataset.classes.size() - 1));
  }
  append(dataset.labels, labels);
  append(dataset.hashes, values<std::uint64_t>(file, part + ".hashes", core::DType::u64, count));
  std::vector<std::string> names = unpack_texts(file, part + ".names");
  if (static_cast<std::int64_t>(names.size()) != count) {
    throw Error(
        fmt::format("tensor \"{}.names\": {} names, expected {}", part, names.size(), count));
  }
  append(dataset.names, std::move(names));
  const auto skipped = unpack_texts(file, part + ".skipped");
  if (skipped.size() % 2 != 0)
    throw Error(fmt::format("tensor \"{}.skipped\": a name has no reason", part));
  for (std::size_t i = 0; i < skipped.size(); i += 2) {
    data.skipped.push_back({skipped[i], skipped[i + 1]});
  }
  const auto sizes = values<std::int64_t>(file, part + ".sizes", core::DType::i64, 4);
  for (const std::int64_t size : sizes) {
    if (size < 0 || size > INT32_MAX)
      throw Error(fmt::format("tensor \"{}.sizes\": invalid size {}", part, size));
  }
  if (count == 0) return;
  data.sizes.add(static_cast<int>(sizes[0]), static_cast<int>(sizes[2]));
  data.sizes.add(static_cast<int>(sizes[1]), static_cast<int>(sizes[3]));
}

core::Safetensors open_packed(const std::filesystem::path& path) {
  core::Safetensors file = core::Safetensors::open(path);
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end() ||
      (format->second != kFormat && format->second != kFormatOfFiles)) {
    throw Error(fmt::format(
        "a safetensors file, but not a packed data set of format \"{}\" or \"{}\"{}", kFormat,
        kFormatOfFiles,
        format == file.metadata().end() ? "" : ": its format is " + core::quote(format->second)));
  }
  return file;
}

/// How the images of a packed file are stored and shown.
struct StoredImages {
  bool as_files = false;
  int height = 0, width = 0;

  bool operator==(const StoredImages&) const = default;
};

StoredImages stored_images(const core::Safetensors& file, const std::string& part) {
  if (file.metadata().at("format") == kFormat) {
    const core::TensorView& pixels = checked_pixels(file, part);
    return {false, static_cast<int>(pixels.shape[1]), static_cast<int>(pixels.shape[2])};
  }
  const auto size = values<std::int64_t>(file, "image_size", core::DType::i64, 2);
  for (const std::int64_t side : size)
    if (side < 1 || side > kMaxSide)
      throw Error(fmt::format("tensor \"image_size\": {}, expected 1 to {}", side, kMaxSide));
  const auto height = static_cast<int>(size[0]), width = static_cast<int>(size[1]);
  detail::check_memory(1, height, width);
  return {true, height, width};
}

/// Returns where each of a part's image files ends.
std::vector<std::int64_t> checked_ends(const core::Safetensors& file, const std::string& part) {
  const std::int64_t bytes = tensor(file, part + ".files", core::DType::u8, 1).shape[0];
  const std::string name = part + ".ends";
  const std::int64_t count = tensor(file, name, core::DType::i64, 1).shape[0];
  auto ends = values<std::int64_t>(file, name, core::DType::i64, count);
  std::int64_t begin = 0;
  for (const std::int64_t end : ends) {
    if (end < begin || end > bytes)
      throw Error(fmt::format("tensor \"{}\": {}, expected {} to {}", name, end, begin, bytes));
    begin = end;
  }
  return ends;
}

/// Reads the files of a data set one after the other.
class PackedReader {
 public:
  PackedReader(std::string part, core::Fit fit) : part_(std::move(part)), fit_(fit) {}

  void add(const std::filesystem::path& path) {
    const core::Safetensors file = open_packed(path);
    Dataset& dataset = data_.dataset;
    std::vector<std::string> classes = read_classes(file);
    const StoredImages images = stored_images(file, part_);
    if (!images_) {
      images_ = images;
      files_ = std::make_shared<detail::MappedFiles>(images.width, images.height, fit_);
      dataset.classes = std::move(classes);
      dataset.height = images.height;
      dataset.width = images.width;
      const auto source = file.metadata().find("source");
      data_.source = source == file.metadata().end() ? "packed" : source->second;
    } else if (classes != dataset.classes || images != *images_) {
      throw Error("its classes or its image size differ from those of the first shard");
    }
    if (images.as_files) {
      std::vector<std::int64_t> ends = checked_ends(file, part_);
      append_part(file, part_, std::ssize(ends), data_);
      files_->add(file, file.at(part_ + ".files").bytes, std::move(ends));
    } else {
      const core::TensorView& pixels = file.at(part_ + ".pixels");
      append_part(file, part_, pixels.shape[0], data_);
      pixels_->add(file, pixels);
    }
  }

  LoadedData finish() {
    if (data_.dataset.labels.empty())
      throw Error(fmt::format("tensor \"{}.{}\": it holds no image", part_,
                              images_->as_files ? "files" : "pixels"));
    if (images_->as_files)
      data_.dataset.stored = files_;
    else
      data_.dataset.stored = pixels_;
    return std::move(data_);
  }

 private:
  std::string part_;
  core::Fit fit_;
  LoadedData data_;
  std::optional<StoredImages> images_;  // those of the first file
  std::shared_ptr<detail::MappedPixels> pixels_ = std::make_shared<detail::MappedPixels>();
  std::shared_ptr<detail::MappedFiles> files_;
};

/// The name of a shard, taken apart.
struct ShardName {
  std::string prefix, suffix;  ///< the name before and after "-00000-of-00008"
  int number = 0, count = 0;

  std::string with_number(int other) const {
    return fmt::format("{}-{:05}-of-{:05}{}", prefix, other, count, suffix);
  }
  bool same_set(const ShardName& other) const {
    return prefix == other.prefix && suffix == other.suffix && count == other.count;
  }
};

std::optional<ShardName> parse_shard_name(const std::string& name) {
  static const std::regex pattern("(.+)-([0-9]{5})-of-([0-9]{5})([^/]*)");
  std::smatch match;
  if (!std::regex_match(name, match, pattern)) return std::nullopt;
  ShardName shard{match[1], match[4], std::stoi(match[2]), std::stoi(match[3])};
  if (shard.number >= shard.count) return std::nullopt;
  return shard;
}

}  // namespace

std::vector<std::uint8_t> copy_pixels(const Dataset& dataset) {
  if (!dataset.stored) return dataset.pixels;
  detail::check_memory(dataset.size(), dataset.height, dataset.width);
  const std::size_t bytes =
      static_cast<std::size_t>(dataset.height) * static_cast<std::size_t>(dataset.width) * 3;
  std::vector<std::uint8_t> pixels(dataset.labels.size() * bytes);
  core::parallel_for(dataset.labels.size(), [&](std::size_t i) {
    const ImagePixels image = dataset.image(static_cast<std::int64_t>(i));
    std::ranges::copy(image, pixels.begin() + static_cast<std::ptrdiff_t>(i * bytes));
  });
  return pixels;
}

void write_packed(const std::filesystem::path& path, const LoadedData& train,
                  const LoadedData& test) {
  detail::write_packed(path, train, test, {}, {});
}

void detail::write_packed(const std::filesystem::path& path, const LoadedData& train,
                          const LoadedData& test,
                          const std::map<std::string, std::string, std::less<>>& more,
                          const std::optional<FilesOfParts>& files) {
  const Dataset& a = train.dataset;
  const Dataset& b = test.dataset;
  if (a.height != b.height || a.width != b.width || a.classes != b.classes) {
    throw Error(fmt::format("{}: train and test differ in size or classes", path.string()));
  }
  core::Tensors tensors;
  tensors["classes"] = pack_texts(a.classes);
  add_part(tensors, "train", train);
  add_part(tensors, "test", test);
  core::Metadata metadata = {{"format", std::string(files ? kFormatOfFiles : kFormat)},
                             {"source", train.source}};
  if (files) {
    add_files(tensors, "train", files->train);
    add_files(tensors, "test", files->test);
    const std::array<std::int64_t, 2> size = {a.height, a.width};
    tensors["image_size"] = core::HostTensor::of({2}, std::span<const std::int64_t>(size));
  } else {
    add_pixels(tensors, "train", a);
    add_pixels(tensors, "test", b);
  }
  metadata.insert(more.begin(), more.end());
  core::write_safetensors(path, metadata, tensors);
}

LoadedData detail::load_packed(const std::vector<std::filesystem::path>& paths, Part part,
                               core::Fit fit) {
  PackedReader reader(part == Part::train ? "train" : "test", fit);
  for (const std::filesystem::path& path : paths) {
    try {
      reader.add(path);
    } catch (const Error& error) {
      // load_data adds the path of a data set in one file.
      if (paths.size() == 1) throw;
      core::throw_with_place(path.filename().string(), error);
    }
  }
  return reader.finish();
}

std::vector<std::filesystem::path> detail::find_shards(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::optional<ShardName> shard;
  fs::path folder = path;
  if (fs::is_directory(path)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().filename().string();
      const auto found = parse_shard_name(name);
      if (!found || !is_safetensors(entry.path())) continue;
      if (shard && !shard->same_set(*found)) {
        // The names are sorted, so that the message does not depend on the order of the folder.
        const auto [first, second] = std::minmax({shard->with_number(0), found->with_number(0)});
        throw Error(fmt::format("several sets of shards ({}, {}): give the path of one shard",
                                first, second));
      }
      shard = found;
    }
  } else {
    shard = parse_shard_name(path.filename().string());
    folder = path.parent_path();
  }
  if (!shard) return {};
  std::vector<fs::path> paths;
  for (int number = 0; number < shard->count; ++number) {
    paths.push_back(folder / shard->with_number(number));
    if (!fs::exists(paths.back()))
      throw Error(fmt::format("shard {} of {} is missing: {}", number + 1, shard->count,
                              paths.back().filename().string()));
  }
  return paths;
}

bool detail::is_safetensors(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<unsigned char, 9> head{};
  if (!file.read(reinterpret_cast<char*>(head.data()), head.size())) return false;
  // The file begins with the length of the header, here below 2^32, and the header, which is JSON.
  return head[4] == 0 && head[5] == 0 && head[6] == 0 && head[7] == 0 && head[8] == '{';
}

}  // namespace offramp::data
