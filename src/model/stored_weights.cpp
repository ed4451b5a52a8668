#include "model/stored_weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/bf16.h"
#include "core/error.h"

namespace offramp::model {
namespace {

/// The largest magnitude of an integer weight. -128 is not used, so that the range is symmetric.
constexpr float kMostSteps = 127;

/// Checks the elements of an f32 or bf16 tensor, which need not be aligned.
/// @param kInfinity  the bits of infinity; a value is finite if the bits of its magnitude are less
template <typename Element, Element kInfinity, typename Convert>
void check_values(std::span<const std::byte> bytes, const graph::Parameter& parameter,
                  const Convert& convert) {
  // Batch norm takes the square root of a variance.
  const bool is_variance = parameter.role == graph::ParameterRole::running_var;
  std::array<Element, 4096> block;
  for (std::size_t begin = 0; begin < bytes.size(); begin += sizeof block) {
    const std::size_t size = std::min(sizeof block, bytes.size() - begin);
    std::memcpy(block.data(), bytes.data() + begin, size);
    const auto values = std::span(block).first(size / sizeof(Element));
    // A fast test of the bits of all values comes first; a slow search follows only if it fails.
    constexpr auto kSign = static_cast<Element>(~(static_cast<Element>(~Element{0}) >> 1));
    Element largest = 0, any = 0;
    for (const Element element : values) {
      largest = std::max(largest, static_cast<Element>(element & static_cast<Element>(~kSign)));
      any = static_cast<Element>(any | element);
    }
    if (largest < kInfinity && !(is_variance && (any & kSign) != 0)) continue;
    for (const Element element : values) {
      const float value = convert(element);
      if (!std::isfinite(value))
        throw Error(fmt::format("{}: a value is not finite: {}", place_of(parameter.name), value));
      if (is_variance && value < 0)
        throw Error(fmt::format("{}: a variance is negative: {}", place_of(parameter.name), value));
    }
  }
}

}  // namespace

std::string place_of(std::string_view tensor) {
  return fmt::format("tensor {}", core::quote(tensor));
}

void check_shape(const std::vector<std::int64_t>& got, const graph::Parameter& expected) {
  if (got != expected.shape)
    throw Error(fmt::format("{}: shape differs from the graph: got {}, expected {}",
                            place_of(expected.name), core::to_string(got),
                            core::to_string(expected.shape)));
}

void check_weight(const core::TensorView& tensor, const graph::Parameter& parameter) {
  if (tensor.dtype != core::DType::f32 && tensor.dtype != core::DType::bf16)
    throw Error(fmt::format("{}: got {}, expected F32 or BF16", place_of(parameter.name),
                            core::to_string(tensor.dtype)));
  check_shape(tensor.shape, parameter);
  if (static_cast<std::uint64_t>(core::element_count(tensor.shape)) * core::size_of(tensor.dtype) !=
      tensor.bytes.size())
    throw Error(fmt::format("{}: {} bytes of data do not fit its shape", place_of(parameter.name),
                            tensor.bytes.size()));
  if (tensor.dtype == core::DType::bf16)
    check_values<std::uint16_t, 0x7f80>(tensor.bytes, parameter, core::from_bf16);
  else
    check_values<std::uint32_t, 0x7f800000>(
        tensor.bytes, parameter, [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
}

void check_weight(const core::HostTensor& tensor, const graph::Parameter& parameter) {
  check_weight(core::TensorView{tensor.dtype, tensor.shape, tensor.bytes}, parameter);
}

void check_integers(const core::TensorView& tensor, const graph::Parameter& parameter) {
  if (parameter.role != graph::ParameterRole::conv_weight)
    throw Error(fmt::format("{}: got I8, but only weights of convolutions may be I8",
                            place_of(parameter.name)));
  check_shape(tensor.shape, parameter);
  if (static_cast<std::size_t>(core::element_count(tensor.shape)) != tensor.bytes.size())
    throw Error(fmt::format("{}: {} bytes of data do not fit its shape", place_of(parameter.name),
                            tensor.bytes.size()));
  if (std::ranges::find(tensor.bytes, std::byte{0x80}) != tensor.bytes.end())
    throw Error(
        fmt::format("{}: got the value -128, expected -127 to 127", place_of(parameter.name)));
}

std::vector<float> read_scales(const core::Safetensors& file, const graph::Parameter& parameter) {
  const std::string name = parameter.name + std::string(kScaleSuffix);
  const core::TensorView& view = file.at(name);
  if (view.dtype != core::DType::f32 || view.shape != std::vector{parameter.shape[0]})
    throw Error(fmt::format("{}: got {} {}, expected F32 [{}]", place_of(name),
                            core::to_string(view.dtype), core::to_string(view.shape),
                            parameter.shape[0]));
  std::vector<float> scales = view.to_f32();
  for (const float scale : scales)
    if (!(scale > 0) || !std::isfinite(kMostSteps * scale))
      throw Error(
          fmt::format("{}: expected scales above 0 whose product with 127 is finite, got {}",
                      place_of(name), scale));
  return scales;
}

std::vector<float> dequantise(std::span<const std::byte> elements,
                              const std::vector<float>& scales) {
  std::vector<float> values(elements.size());
  const std::size_t per_scale = values.size() / scales.size();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = scales[i / per_scale] * static_cast<float>(static_cast<std::int8_t>(elements[i]));
  return values;
}

core::HostTensor quantise_weight(const core::HostTensor& weight, const std::vector<float>& scales,
                                 const std::string& name) {
  const std::vector<float> values = weight.to_f32();
  if (scales.empty() || scales.size() != static_cast<std::size_t>(weight.shape[0]))
    throw Error(fmt::format("{}: got {} scales, expected {}: one for each output channel",
                            place_of(name), scales.size(), weight.shape[0]));
  const std::size_t per_scale = values.size() / scales.size();
  core::HostTensor elements{core::DType::i8, weight.shape, std::vector<std::byte>(values.size())};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float steps = std::nearbyint(values[i] / scales[i / per_scale]);
    if (!(std::abs(steps) <= kMostSteps) || steps * scales[i / per_scale] != values[i])
      throw Error(
          fmt::format("{}: a value is not a multiple of its scale: {}", place_of(name), values[i]));
    elements.bytes[i] = static_cast<std::byte>(static_cast<std::int8_t>(steps));
  }
  return elements;
}

}  // namespace offramp::model
