#include "model/stored_images.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "model/model_file.h"
#include "model/stored_weights.h"

namespace offramp::model {
namespace {

void check_tensor(std::string_view name, const core::TensorView& got, core::DType dtype,
                  const std::vector<std::int64_t>& shape) {
  if (got.dtype != dtype || got.shape != shape)
    throw Error(fmt::format("{}: got {} {}, expected {} {}", place_of(name),
                            core::to_string(got.dtype), core::to_string(got.shape),
                            core::to_string(dtype), core::to_string(shape)));
}

std::vector<std::int64_t> pixels_shape(const ModelFile& model, std::int64_t count) {
  return {count, model.preprocessing.height, model.preprocessing.width, 3};
}

std::vector<std::int64_t> logits_shape(const ModelFile& model, std::int64_t count) {
  return {count, static_cast<std::int64_t>(graph::exit_segments(model.graph).size()),
          model.graph.classes};
}

bool has_size(std::size_t size, const std::vector<std::int64_t>& shape) {
  return size == static_cast<std::size_t>(core::element_count(shape));
}

}  // namespace

void check_stored_images(const ModelFile& model) {
  const StoredImages& stored = model.stored_images;
  if (stored.count == 0 && stored.pixels.empty() && stored.logits.empty()) return;
  if (stored.count < 1 || stored.count > kMaxStoredImages)
    throw Error(fmt::format("{}: got {} images, expected 1 to {}", place_of(kStoredPixelsTensor),
                            stored.count, kMaxStoredImages));
  if (model.graph.input[0] != 3)
    throw Error(fmt::format("{}: stored images have 3 channels, but the graph's input has {}",
                            place_of(kStoredPixelsTensor), model.graph.input[0]));
  if (!has_size(stored.pixels.size(), pixels_shape(model, stored.count)))
    throw Error(fmt::format("{}: got {} bytes, expected {}", place_of(kStoredPixelsTensor),
                            stored.pixels.size(),
                            core::to_string(pixels_shape(model, stored.count))));
  if (!has_size(stored.logits.size(), logits_shape(model, stored.count)))
    throw Error(fmt::format("{}: got {} logits, expected {}", place_of(kStoredLogitsTensor),
                            stored.logits.size(),
                            core::to_string(logits_shape(model, stored.count))));
  if (!std::ranges::all_of(stored.logits, [](float logit) { return std::isfinite(logit); }))
    throw Error(fmt::format("{}: a logit is not a finite number", place_of(kStoredLogitsTensor)));
}

void write_stored_images(const ModelFile& model, core::Tensors& tensors) {
  const StoredImages& stored = model.stored_images;
  if (stored.count == 0) return;
  tensors.emplace(kStoredPixelsTensor,
                  core::HostTensor::of(pixels_shape(model, stored.count),
                                       std::span<const std::uint8_t>(stored.pixels)));
  tensors.emplace(kStoredLogitsTensor, core::HostTensor::of(logits_shape(model, stored.count),
                                                            std::span<const float>(stored.logits)));
}

StoredImages read_stored_images(const core::Safetensors& file, const ModelFile& model) {
  StoredImages stored;
  const auto pixels = file.tensors().find(kStoredPixelsTensor);
  const auto logits = file.tensors().find(kStoredLogitsTensor);
  if (pixels == file.tensors().end() && logits == file.tensors().end()) return stored;
  if (pixels == file.tensors().end() || logits == file.tensors().end())
    throw Error(fmt::format(
        "{} is missing",
        place_of(pixels == file.tensors().end() ? kStoredPixelsTensor : kStoredLogitsTensor)));
  const std::int64_t count = pixels->second.shape.empty() ? 0 : pixels->second.shape[0];
  if (count < 1 || count > kMaxStoredImages)
    throw Error(fmt::format("{}: got {} images, expected 1 to {}", place_of(kStoredPixelsTensor),
                            count, kMaxStoredImages));
  check_tensor(kStoredPixelsTensor, pixels->second, core::DType::u8, pixels_shape(model, count));
  check_tensor(kStoredLogitsTensor, logits->second, core::DType::f32, logits_shape(model, count));
  const auto bytes = pixels->second.bytes;
  stored.pixels.resize(bytes.size());
  std::ranges::transform(bytes, stored.pixels.begin(),
                         [](std::byte byte) { return std::to_integer<std::uint8_t>(byte); });
  stored.logits = logits->second.to_f32();
  stored.count = count;
  ModelFile checked;
  checked.graph = model.graph;
  checked.preprocessing = model.preprocessing;
  checked.stored_images = stored;
  check_stored_images(checked);
  return stored;
}

}  // namespace offramp::model
