#include "eval/logits_file.h"

#include <limits>
#include <span>

#include "core/error.h"

namespace offramp::eval {
namespace {

const core::TensorView& checked_tensor(const core::Safetensors& file, std::string_view name,
                                       core::DType dtype, std::size_t dimensions) {
  const core::TensorView& tensor = file.at(name);
  if (tensor.dtype != dtype)
    throw Error(fmt::format("tensor \"{}\": got {}, expected {}", name,
                            core::to_string(tensor.dtype), to_string(dtype)));
  if (tensor.shape.size() != dimensions)
    throw Error(fmt::format("tensor \"{}\": got shape {}, expected {} dimensions", name,
                            core::to_string(tensor.shape), dimensions));
  return tensor;
}

int to_int(std::int64_t size, std::string_view what) {
  if (size < 1 || size > std::numeric_limits<int>::max())
    throw Error(fmt::format("tensor \"logits\": {} {}", size, what));
  return static_cast<int>(size);
}

}  // namespace

core::Tensors to_tensors(const SavedLogits& saved) {
  const auto images = static_cast<std::int64_t>(saved.labels.size());
  core::Tensors tensors;
  tensors.emplace("logits", core::HostTensor::of({saved.exits, images, saved.classes},
                                                 std::span<const float>(saved.logits)));
  tensors.emplace("labels",
                  core::HostTensor::of({images}, std::span<const std::int64_t>(saved.labels)));
  if (!saved.hashes.empty())
    tensors.emplace("hashes",
                    core::HostTensor::of({images}, std::span<const std::uint64_t>(saved.hashes)));
  return tensors;
}

void save_logits(const std::filesystem::path& path, const SavedLogits& saved) {
  core::write_safetensors(path, saved.metadata, to_tensors(saved));
}

SavedLogits load_logits(const std::filesystem::path& path) {
  const core::Safetensors file = core::Safetensors::open(path);
  try {
    const core::TensorView& logits = checked_tensor(file, "logits", core::DType::f32, 3);
    const core::TensorView& labels = checked_tensor(file, "labels", core::DType::i64, 1);
    if (labels.shape[0] != logits.shape[1])
      throw Error(
          fmt::format("got {} labels, but logits of {} images", labels.shape[0], logits.shape[1]));
    SavedLogits saved;
    saved.exits = to_int(logits.shape[0], "exits");
    saved.classes = to_int(logits.shape[2], "classes");
    saved.logits = logits.copy().to_f32();
    const core::HostTensor label_values = labels.copy();
    const auto values = label_values.as<std::int64_t>();
    saved.labels.assign(values.begin(), values.end());
    if (file.tensors().contains("hashes")) {
      const core::TensorView& hashes = checked_tensor(file, "hashes", core::DType::u64, 1);
      if (hashes.shape[0] != logits.shape[1])
        throw Error(fmt::format("got {} hashes, but logits of {} images", hashes.shape[0],
                                logits.shape[1]));
      const core::HostTensor hash_values = hashes.copy();
      const auto copied = hash_values.as<std::uint64_t>();
      saved.hashes.assign(copied.begin(), copied.end());
    }
    saved.metadata = file.metadata();
    return saved;
  } catch (const Error& error) {
    core::throw_with_place(path.string(), error);
  }
}

}  // namespace offramp::eval
