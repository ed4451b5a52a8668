#include "core/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/bf16.h"
#include "core/error.h"

namespace offramp::core {
namespace {

using ::testing::ElementsAre;
using ::testing::ThrowsMessage;

std::vector<std::int64_t> shape(std::initializer_list<std::int64_t> sizes) { return sizes; }

TEST(ElementCount, MultipliesTheDimensions) {
  EXPECT_EQ(element_count(shape({})), 1);
  EXPECT_EQ(element_count(shape({2, 3, 7})), 42);
  EXPECT_EQ(element_count(shape({std::int64_t{1} << 62, 0, std::int64_t{1} << 62})), 0);
  EXPECT_EQ(element_count(shape({1, std::numeric_limits<std::int64_t>::max()})),
            std::numeric_limits<std::int64_t>::max());
}

TEST(ElementCount, RefusesWhatCannotBeCounted) {
  EXPECT_THAT(
      ([] {
        element_count(shape({std::int64_t{1} << 32, std::int64_t{1} << 31}));
      }),
      ThrowsMessage<Error>("shape [4294967296,2147483648] has more elements than can be counted"));
  EXPECT_THAT(([] {
                element_count(shape({2, -1}));
              }),
              ThrowsMessage<Error>("shape [2,-1] has a negative dimension"));
}

TEST(HostTensor, HoldsValuesOfItsShape) {
  const HostTensor tensor = HostTensor::of({2, 2}, std::vector<float>{1, 2, 3, 4});
  EXPECT_EQ(tensor.dtype, DType::f32);
  EXPECT_EQ(tensor.count(), 4);
  EXPECT_THAT(tensor.as<float>(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(HostTensor::of({3}, std::vector<std::int64_t>{-1, 0, 1}).as<std::int64_t>(),
              ElementsAre(-1, 0, 1));
  EXPECT_THAT(HostTensor::of({1}, std::vector<std::uint64_t>{~0ull}).as<std::uint64_t>(),
              ElementsAre(~0ull));
  EXPECT_THAT(HostTensor::of({2}, std::vector<std::uint8_t>{0, 255}).as<std::uint8_t>(),
              ElementsAre(0, 255));
  EXPECT_THAT(([] {
                HostTensor::of({2, 2}, std::vector<float>{1});
              }),
              ThrowsMessage<Error>("a tensor of shape [2,2] cannot hold 1 values"));
}

TEST(HostTensor, IsChangedInPlace) {
  HostTensor tensor = HostTensor::of({2}, std::vector<float>{1, 2});
  tensor.as<float>()[1] = 5;
  EXPECT_THAT(tensor.to_f32(), ElementsAre(1, 5));
}

TEST(HostTensor, RefusesAnotherType) {
  const HostTensor tensor = HostTensor::of({1}, std::vector<std::int64_t>{1});
  EXPECT_THAT([&] { tensor.as<float>(); },
              ThrowsMessage<Error>("expected a tensor of F32, got I64"));
  EXPECT_THAT([&] { tensor.to_f32(); },
              ThrowsMessage<Error>("a tensor of I64 holds no floating-point values"));
}

TEST(HostTensor, ConvertsToF32) {
  HostTensor bf16{DType::bf16, {2}, std::vector<std::byte>(4)};
  bf16.as<std::uint16_t>()[0] = 0x3fc0;  // 1.5: sign 0, exponent 127, mantissa 1000000
  bf16.as<std::uint16_t>()[1] = 0xc000;  // -2
  EXPECT_THAT(bf16.to_f32(), ElementsAre(1.5f, -2.0f));

  HostTensor f64{DType::f64, {3}, std::vector<std::byte>(24)};
  f64.as<double>()[0] = 0.1;
  f64.as<double>()[1] = 1e300;
  f64.as<double>()[2] = std::nan("");
  const auto values = f64.to_f32();
  EXPECT_EQ(values[0], 0.1f);
  EXPECT_EQ(values[1], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(values[2]));
}

TEST(DType, HasItsSizeAndName) {
  EXPECT_EQ(to_string(DType::bf16), "BF16");
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::i8) + size_of(DType::u8), 2u);
  EXPECT_EQ(size_of(DType::f32) + size_of(DType::i32), 8u);
  EXPECT_EQ(size_of(DType::f64) + size_of(DType::i64) + size_of(DType::u64), 24u);
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // a tie goes to the even one
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()), 0x7f80);  // beyond bf16: infinite
  EXPECT_EQ(to_bf16(-0.0f), 0x8000);
}

TEST(Bf16, KeepsNaNAndComesBackExactly) {
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::nanf("")))));
  // The payload of this NaN is in the lower half only: truncation would make it infinite.
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7f800001u)))));
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const auto value = static_cast<std::uint16_t>(bits);
    if (!std::isnan(from_bf16(value))) {
      ASSERT_EQ(to_bf16(from_bf16(value)), value);
    }
  }
}

}  // namespace
}  // namespace offramp::core
