#include "policy/class_math.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/clones.h"

// The compiler builds each function for several instruction sets. All of them give the same bits:
// the number of lanes and the order of additions are fixed, and CMakeLists.txt forbids fused
// multiply-adds.

namespace offramp::policy::detail {
namespace {

// The number of partial sums. With several, the compiler can use vector instructions without
// changing the order of additions.
constexpr std::size_t kLanes = 8;

template <typename Value>
OFFRAMP_INLINE Value total_of(const std::array<Value, kLanes>& lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// Calls step(lane, index) for all indices below `size`, in blocks of kLanes.
template <typename Step>
OFFRAMP_INLINE void for_each_in_lanes(std::size_t size, const Step& step) {
  const std::size_t whole = size - size % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) step(lane, i + lane);
  for (std::size_t i = whole; i < size; ++i) step(i - whole, i);
}

constexpr std::uint64_t bits_of(double value) { return std::bit_cast<std::uint64_t>(value); }

// Returns exp(x) for x ≤ 0 with a relative error below 5e-16. A subnormal result is replaced by 0.
OFFRAMP_INLINE double exp_of(double x) {
  constexpr double kLeast = -708, kLog2E = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr double kShift = 0x1.8p52;  // adding this moves the nearest integer into the low bits
  const double in_range = x < kLeast ? kLeast : x;
  const double shifted = in_range * kLog2E + kShift;
  const double n = shifted - kShift;
  const double r = (in_range - n * kLn2High) - n * kLn2Low;  // |r| ≤ ln 2 / 2
  const double r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
  // The Taylor series up to r^13, with its terms grouped in pairs.
  const double p01 = 1 + r, p23 = 1.0 / 2 + r * (1.0 / 6), p45 = 1.0 / 24 + r * (1.0 / 120),
               p67 = 1.0 / 720 + r * (1.0 / 5040), p89 = 1.0 / 40320 + r * (1.0 / 362880),
               pab = 1.0 / 3628800 + r * (1.0 / 39916800),
               pcd = 1.0 / 479001600 + r * (1.0 / 6227020800.0);
  const double p = (p01 + r2 * p23) + r4 * (p45 + r2 * p67) + r8 * ((p89 + r2 * pab) + r4 * pcd);
  const double scaled = std::bit_cast<double>(bits_of(p) + (bits_of(shifted) << 52));
  return x < kLeast ? 0 : scaled;
}

// Returns log(x) for normal x > 0 with an error below 5e-16 max(1, |log x|). For x = 0 the result
// is a finite number.
OFFRAMP_INLINE double log_of(double x) {
  constexpr std::uint64_t kRootHalf = 0x3fe6a09e667f3bcdu, kOne = 0x3ff0000000000000u;
  constexpr std::uint64_t kMantissa = (std::uint64_t{1} << 52) - 1;
  constexpr double kLn2 = 0.6931471805599453;
  const std::uint64_t u = bits_of(x) + (kOne - kRootHalf);
  // Puts the exponent into the low bits of a double, because AVX2 has no instruction that converts
  // 64-bit integers.
  const double exponent = std::bit_cast<double>((u >> 52) | 0x4330000000000000u) - (0x1p52 + 1023);
  const double m = std::bit_cast<double>((u & kMantissa) + kRootHalf);  // in [√½, √2)
  const double s = (m - 1) / (m + 1), z = s * s, z2 = z * z, z4 = z2 * z2;
  // 2 artanh(s) = 2 s (1 + z/3 + z²/5 + …), |s| ≤ 0.172.
  const double p = ((1 + z * (1.0 / 3)) + z2 * (1.0 / 5 + z * (1.0 / 7))) +
                   z4 * ((1.0 / 9 + z * (1.0 / 11)) + z2 * (1.0 / 13 + z * (1.0 / 15))) +
                   z4 * z4 * (1.0 / 17 + z * (1.0 / 19));
  return exponent * kLn2 + 2 * s * p;
}

// Returns the largest value, or minus infinity if there is no value other than NaN.
template <typename Value>
OFFRAMP_INLINE Value largest_of(std::span<const Value> values) {
  // Comparing with NaN gives false, so NaN never becomes a lane's largest value.
  std::array<Value, kLanes> lanes;
  lanes.fill(-std::numeric_limits<Value>::infinity());
  for_each_in_lanes(values.size(), [&](std::size_t lane, std::size_t i) {
    lanes[lane] = values[i] > lanes[lane] ? values[i] : lanes[lane];
  });
  Value largest = lanes[0];
  for (const Value value : lanes) largest = value > largest ? value : largest;
  return largest;
}

template <typename Value>
OFFRAMP_INLINE std::size_t first_largest_of(std::span<const Value> values) {
  const Value largest = largest_of(values);
  // Blocks that do not contain the largest value are skipped as a whole.
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    int here = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) here |= values[i + lane] == largest;
    if (here != 0) break;
  }
  for (; i < values.size(); ++i)
    if (values[i] == largest) return i;
  return 0;  // all values are NaN
}

template <typename Value>
OFFRAMP_INLINE double exponentials_of(std::span<const Value> z, double largest, double temperature,
                                      std::span<double> out) {
  const double b = 1 / temperature;
  const Value* const from = z.data();
  double* const to = out.data();
  for (std::size_t i = 0; i < z.size(); ++i)
    to[i] = exp_of((static_cast<double>(from[i]) - largest) * b);
  std::array<double, kLanes> sums{};
  for_each_in_lanes(z.size(), [&](std::size_t lane, std::size_t i) { sums[lane] += to[i]; });
  return total_of(sums);
}

}  // namespace

OFFRAMP_CLONES std::size_t first_largest(std::span<const float> values) {
  return first_largest_of(values);
}
OFFRAMP_CLONES std::size_t first_largest(std::span<const double> values) {
  return first_largest_of(values);
}

double logarithm(double x) { return log_of(x); }

OFFRAMP_CLONES double exponentials(std::span<const float> z, double largest, double temperature,
                                   std::span<double> out) {
  return exponentials_of(z, largest, temperature, out);
}

OFFRAMP_CLONES double exponentials(std::span<const double> z, double largest, double temperature,
                                   std::span<double> out) {
  return exponentials_of(z, largest, temperature, out);
}

OFFRAMP_CLONES void normalise(std::span<const double> e, double total, std::span<float> p) {
  const double scale = 1 / total;
  for (std::size_t i = 0; i < e.size(); ++i) p[i] = static_cast<float>(e[i] * scale);
}

OFFRAMP_CLONES void add_weighted(std::span<const double> e, double total, double weight,
                                 double weight_sum, std::span<double> sum, std::span<float> p) {
  const double share = weight / total, scale = 1 / weight_sum;
  for (std::size_t i = 0; i < e.size(); ++i) {
    sum[i] += e[i] * share;
    p[i] = static_cast<float>(sum[i] * scale);
  }
}

OFFRAMP_CLONES void add_logarithms(std::span<const float> z, double largest, double temperature,
                                   double log_total, std::span<double> sum) {
  const double b = 1 / temperature;
  for (std::size_t i = 0; i < z.size(); ++i)
    sum[i] += (static_cast<double>(z[i]) - largest) * b - log_total;
}

OFFRAMP_CLONES double entropy(std::span<const float> p) {
  std::array<double, kLanes> sums{};
  for_each_in_lanes(p.size(), [&](std::size_t lane, std::size_t i) {
    const double value = p[i];
    sums[lane] -= value * log_of(value);  // gives 0 for value = 0
  });
  return total_of(sums);
}

OFFRAMP_CLONES float margin(std::span<const float> p) {
  if (p.size() == 1) return p[0];
  const std::size_t at = first_largest_of(p);
  const float before = largest_of(p.first(at)), after = largest_of(p.subspan(at + 1));
  return p[at] - (before > after ? before : after);
}

OFFRAMP_CLONES Moments moments(std::span<const float> z, double largest, double b) {
  std::array<double, kLanes> sums{}, firsts{}, seconds{};
  for_each_in_lanes(z.size(), [&](std::size_t lane, std::size_t i) {
    const double d = static_cast<double>(z[i]) - largest, e = exp_of(b * d), ed = e * d;
    sums[lane] += e;
    firsts[lane] += ed;
    seconds[lane] += ed * d;
  });
  return {total_of(sums), total_of(firsts), total_of(seconds)};
}

}  // namespace offramp::policy::detail
