#pragma once

#include <cstddef>
#include <span>

// Arithmetic over the classes of one image, written so that compilers use vector instructions. The
// same logits give the same bits on every x86-64 CPU: sums have one fixed order, and no function of
// the C library is used whose last bit differs between machines. A NaN in the input gives NaN.
namespace offramp::policy::detail {

/// Returns the index of the largest value, the first one if several are equal. NaN counts as
/// smaller than every number. @param values  at least one
std::size_t first_largest(std::span<const float> values);
std::size_t first_largest(std::span<const double> values);

/// Returns the natural logarithm of x. @param x  above 0 and not subnormal
double logarithm(double x);

/// Writes exp((z - largest) / temperature) to `out` and returns its sum. @param z, out  [classes]
/// @param largest  the largest element of z, so that all exponents are at most 0
double exponentials(std::span<const float> z, double largest, double temperature,
                    std::span<double> out);
/// Computes the same for values in double, such as sums of logarithms. `out` may be `z`.
double exponentials(std::span<const double> z, double largest, double temperature,
                    std::span<double> out);

/// Computes p = e / total. @param e, p  [classes]
void normalise(std::span<const double> e, double total, std::span<float> p);

/// Computes sum += weight * e / total and then p = sum / weight_sum. @param e, sum, p  [classes]
void add_weighted(std::span<const double> e, double total, double weight, double weight_sum,
                  std::span<double> sum, std::span<float> p);

/// Computes sum += (z - largest) / temperature - log_total. @param z, sum  [classes]
void add_logarithms(std::span<const float> z, double largest, double temperature, double log_total,
                    std::span<double> sum);

/// Returns the entropy of p, the sum of -p log p, in nats. @param p  [classes] in [0, 1]
double entropy(std::span<const float> p);

/// Returns the largest value minus the second largest, or the value itself if there is only one.
/// The result is NaN if all values are.
float margin(std::span<const float> p);

/// The sums Σ e, Σ e d and Σ e d² over the classes, where d = z - largest and e = exp(b d).
struct Moments {
  double sum = 0, first = 0, second = 0;
};
Moments moments(std::span<const float> z, double largest, double b);

}  // namespace offramp::policy::detail
