#include <algorithm>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/safetensors.h"
#include "data/sources.h"

namespace offramp::data {
namespace {

constexpr std::string_view kFormat = "offramp-data 1";

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

void add_part(core::Tensors& tensors, const std::string& part, const LoadedData& data) {
  const Dataset& dataset = data.dataset;
  tensors[part + ".pixels"] =
      core::HostTensor::of({dataset.size(), dataset.height, dataset.width, 3},
                           std::span<const std::uint8_t>(dataset.pixels));
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

LoadedData read_part(const core::Safetensors& file, const std::string& part) {
  LoadedData data;
  Dataset& dataset = data.dataset;
  dataset.classes = unpack_texts(file, "classes");
  const std::set<std::string> different(dataset.classes.begin(), dataset.classes.end());
  if (dataset.classes.empty() || different.size() != dataset.classes.size()) {
    throw Error("tensor \"classes\": there is no class, or two have the same name");
  }
  const std::string pixels_name = part + ".pixels";
  const core::TensorView& pixels = tensor(file, pixels_name, core::DType::u8, 4);
  const std::int64_t count = pixels.shape[0];
  constexpr std::int64_t kMaxSide = 1 << 20;
  if (count == 0 || pixels.shape[3] != 3 || pixels.shape[1] < 1 || pixels.shape[2] < 1 ||
      pixels.shape[1] > kMaxSide || pixels.shape[2] > kMaxSide) {
    throw Error(fmt::format("tensor \"{}.pixels\": shape {}, expected [N, height, width, 3]", part,
                            core::to_string(std::span(pixels.shape))));
  }
  dataset.height = static_cast<int>(pixels.shape[1]);
  dataset.width = static_cast<int>(pixels.shape[2]);
  detail::check_memory(count, dataset.height, dataset.width);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(pixels.bytes.data());
  dataset.pixels.assign(bytes, bytes + pixels.bytes.size());
  dataset.labels = values<std::int64_t>(file, part + ".labels", core::DType::i64, count);
  for (const std::int64_t label : dataset.labels) {
    if (label >= 0 && label < static_cast<std::int64_t>(dataset.classes.size())) continue;
    throw Error(fmt::format("tensor \"{}.labels\": label {}, expected 0 to {}", part, label,
                            dataset.classes.size() - 1));
  }
  dataset.hashes = values<std::uint64_t>(file, part + ".hashes", core::DType::u64, count);
  dataset.names = unpack_texts(file, part + ".names");
  if (static_cast<std::int64_t>(dataset.names.size()) != count) {
    throw Error(fmt::format("tensor \"{}.names\": {} names, expected {}", part,
                            dataset.names.size(), count));
  }
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
  data.sizes = {static_cast<int>(sizes[0]), static_cast<int>(sizes[1]), static_cast<int>(sizes[2]),
                static_cast<int>(sizes[3])};
  return data;
}

}  // namespace

void write_packed(const std::filesystem::path& path, const LoadedData& train,
                  const LoadedData& test) {
  const Dataset& a = train.dataset;
  const Dataset& b = test.dataset;
  if (a.height != b.height || a.width != b.width || a.classes != b.classes) {
    throw Error(fmt::format("{}: train and test differ in size or classes", path.string()));
  }
  core::Tensors tensors;
  tensors["classes"] = pack_texts(a.classes);
  add_part(tensors, "train", train);
  add_part(tensors, "test", test);
  const core::Metadata metadata = {{"format", std::string(kFormat)}, {"source", train.source}};
  core::write_safetensors(path, metadata, tensors);
}

LoadedData detail::load_packed(const std::filesystem::path& path, Part part) {
  const core::Safetensors file = core::Safetensors::open(path);
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end() || format->second != kFormat) {
    throw Error(fmt::format(
        "a safetensors file, but not a packed data set of format \"{}\"{}", kFormat,
        format == file.metadata().end() ? "" : ": its format is " + core::quote(format->second)));
  }
  LoadedData data = read_part(file, part == Part::train ? "train" : "test");
  const auto source = file.metadata().find("source");
  data.source = source == file.metadata().end() ? "packed" : source->second;
  return data;
}

}  // namespace offramp::data
