#include "runtime/convolution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/random.h"
#include "runtime/onednn.h"
#include "runtime/precision.h"
#include "tests/support/instruction_set_cap.h"

namespace offramp::runtime {
namespace {

[[maybe_unused]] testing::Environment* const kCap =
    testing::AddGlobalTestEnvironment(new test::InstructionSetCap);

/// A quantised convolution of 32 → 32 channels of 5 × 4 pixels. Sums of two products fit in 16
/// bits, so that CPUs without VNNI compute it exactly too, and weights are multiples of their step.
struct QuantisedCase {
  int groups, kernel;
  bool has_residual;
  Activation activation = kRelu;
};

double activated(const Activation& activation, double x) {
  switch (activation.kind) {
    case Activation::Kind::clamp:
      return std::clamp<double>(x, activation.a, activation.b);
    case Activation::Kind::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::Kind::hard_sigmoid:
      return std::clamp(activation.a * x + activation.b, 0.0, 1.0);
    case Activation::Kind::hard_swish:
      return x * std::clamp(x + 3, 0.0, 6.0) / 6;
    case Activation::Kind::silu:
      return x / (1 + std::exp(-x));
    case Activation::Kind::gelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2)));
    case Activation::Kind::gelu_tanh:
      break;
  }
  return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

class QuantisedConvolution : public testing::TestWithParam<QuantisedCase> {};

constexpr int kChannels = 32, kHeight = 5, kWidth = 4;

std::size_t place(int y, int x, int channel) {
  return static_cast<std::size_t>((y * kWidth + x) * kChannels + channel);
}

// Scale per channel, bias, shortcut and rounding, whichever way oneDNN takes the scales.
TEST_P(QuantisedConvolution, RoundsTheExactSumOnce) {
  const auto& [groups, kernel, has_residual, activation] = GetParam();
  const int group_width = kChannels / groups, taps = kernel * kernel;
  core::KeyedRandom random(5, 6);
  FusedConv fused;
  fused.conv = {kChannels, kernel, 1, kernel / 2, groups, true};
  fused.activation = activation;
  if (has_residual) fused.residual = "shortcut";
  for (int o = 0; o < kChannels; ++o) {
    const float step = 0.001f * static_cast<float>(1 + o % 7);
    for (int i = 0; i < group_width * taps; ++i)  // the largest of a channel is 127 steps
      fused.weights.push_back(step *
                              (i == 0 ? 127.0f : static_cast<float>(random.below(255)) - 127));
    fused.bias.push_back(random.uniform(-1, 3));
  }
  ConvolutionRequest request;
  request.name = "c";
  request.conv = &fused;
  request.src_shape = request.dst_shape = {kChannels, kHeight, kWidth};
  request.src = {core::DType::u8, 0.02f};
  request.dst = {core::DType::u8, 0.03f};
  request.residual = {core::DType::u8, 0.05f};
  request.src_format = Format::channels_last;
  PackedWeights store;
  const CompiledConvolution compiled = compile_convolution(request, store);
  ASSERT_EQ(compiled.src.format, Format::channels_last);
  ASSERT_EQ(compiled.dst.format, Format::channels_last);

  const auto size = static_cast<std::size_t>(kChannels * kHeight * kWidth);
  std::vector<std::uint8_t> src(size), dst(size);
  for (auto& value : src) value = static_cast<std::uint8_t>(random.below(100));
  for (auto& value : dst) value = static_cast<std::uint8_t>(random.below(60));
  const std::vector<std::uint8_t> shortcut = dst;
  std::vector<std::byte> scratch(compiled.operation->scratch_bytes() + 64);
  const Buffers buffers{{reinterpret_cast<std::byte*>(src.data())},
                        reinterpret_cast<std::byte*>(dst.data()),
                        scratch.data()};
  compiled.operation->bind(buffers, dnnl::stream(cpu_engine()))->run();

  for (int o = 0; o < kChannels; ++o)
    for (int y = 0; y < kHeight; ++y)
      for (int x = 0; x < kWidth; ++x) {
        double sum = 0;
        for (int i = 0; i < group_width; ++i)
          for (int tap = 0; tap < taps; ++tap) {
            const int row = y + tap / kernel - kernel / 2, column = x + tap % kernel - kernel / 2;
            if (row < 0 || row >= kHeight || column < 0 || column >= kWidth) continue;
            const int channel = o / group_width * group_width + i;
            sum +=
                double{
                    fused.weights[static_cast<std::size_t>((o * group_width + i) * taps + tap)]} *
                src[place(row, column, channel)];
          }
        double expected = sum * request.src.scale + fused.bias[static_cast<std::size_t>(o)];
        if (has_residual) expected += double{request.residual.scale} * shortcut[place(y, x, o)];
        expected = std::clamp(activated(activation, expected) / request.dst.scale, 0.0, 255.0);
        EXPECT_NEAR(dst[place(y, x, o)], expected, 0.5 + 5e-3)
            << compiled.operation->implementation() << ", channel " << o << ", row " << y
            << ", column " << x;
      }
}

// Sums with bias of 3k + 3/2, divided by three, lie half-way between two values of dst, so that the
// last bit of every rounded operation before decides. A certificate for the int8 arithmetic holds
// with another version of oneDNN only if all versions round the same way.
TEST(Int8Arithmetic, AddsTheBiasToTheSumBeforeItScales) {
  if (!has_instructions_for(Precision::int8)) GTEST_SKIP() << "no 8-bit instructions here";
  const float third = 1.0f / 3;
  core::KeyedRandom random(7, 8);
  FusedConv fused;
  fused.conv = {kChannels, 1, 1, 0, 1, true};
  for (int i = 0; i < kChannels * kChannels; ++i)  // the largest of a channel is 127 steps of 1
    fused.weights.push_back(i % kChannels == 0 ? 127.0f : static_cast<float>(random.below(5)) - 2);
  fused.bias.assign(kChannels, third / 2);
  ConvolutionRequest request;
  request.name = "c";
  request.conv = &fused;
  request.src_shape = request.dst_shape = {kChannels, kHeight, kWidth};
  request.src = {core::DType::u8, third};
  request.dst = {core::DType::u8, 1};
  request.src_format = Format::channels_last;
  PackedWeights store;
  const CompiledConvolution compiled = compile_convolution(request, store);
  ASSERT_EQ(compiled.dst.format, Format::channels_last);
  const auto size = static_cast<std::size_t>(kChannels * kHeight * kWidth);
  std::vector<std::uint8_t> src(size), dst(size);
  std::vector<std::byte> scratch(compiled.operation->scratch_bytes() + 64);
  const Buffers buffers{{reinterpret_cast<std::byte*>(src.data())},
                        reinterpret_cast<std::byte*>(dst.data()),
                        scratch.data()};
  const auto bound = compiled.operation->bind(buffers, dnnl::stream(cpu_engine()));
  for (int round = 0; round < 20; ++round) {
    for (std::size_t i = 0; i < size; ++i)
      src[i] = static_cast<std::uint8_t>(random.below(i % kChannels == 0 ? 6 : 50));
    bound->run();
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t channel = i % kChannels, pixel = i - channel;
      float sum = 0;  // of whole numbers, exact
      for (std::size_t c = 0; c < kChannels; ++c)
        sum += fused.weights[channel * kChannels + c] * static_cast<float>(src[pixel + c]);
      const float scaled = (sum + 0.5f) * third;
      EXPECT_EQ(dst[i], std::clamp(std::nearbyint(scaled), 0.0f, 255.0f))
          << compiled.operation->implementation() << ", sum " << sum;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, QuantisedConvolution,
                         testing::Values(QuantisedCase{1, 1, false}, QuantisedCase{1, 3, true},
                                         QuantisedCase{2, 3, false}, QuantisedCase{4, 1, true},
                                         QuantisedCase{32, 3, false}, QuantisedCase{32, 3, true}));

using Kind = Activation::Kind;
INSTANTIATE_TEST_SUITE_P(
    Activations, QuantisedConvolution,
    testing::Values(QuantisedCase{1, 3, true, kRelu6}, QuantisedCase{1, 1, false, clamp(0.5f, 4)},
                    QuantisedCase{1, 3, true, {Kind::sigmoid}},
                    QuantisedCase{32, 3, false, {Kind::hard_sigmoid, 0.2f, 0.5f}},
                    QuantisedCase{32, 3, false, {Kind::hard_swish}},
                    QuantisedCase{1, 1, true, {Kind::hard_swish}},
                    QuantisedCase{1, 3, false, {Kind::silu}},
                    QuantisedCase{32, 3, true, {Kind::silu}},
                    QuantisedCase{1, 1, false, {Kind::gelu}},
                    QuantisedCase{2, 3, false, {Kind::gelu_tanh}}));

}  // namespace
}  // namespace offramp::runtime
