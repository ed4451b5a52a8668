#pragma once

#include <cstddef>
#include <span>

// The loops over one image's classes that decisions are made of, written for vectors. They use no
// function of the C library whose last bit differs between machines, and sum in one fixed order:
// the same logits give the same bits on every x86-64. A NaN among the inputs makes the result NaN.
namespace offramp::detail {

/// The index of the largest value, the first of equals; NaN never wins. @param values  at least one
std::size_t first_largest(std::span<const float> values);
std::size_t first_largest(std::span<const double> values);

/// log x for normal x > 0.
double logarithm(double x);

/// Writes exp((z - largest) / temperature) to out and returns the sum. @param z, out  [classes]
/// @param largest  of z: the exponents are at most 0
double exponentials(std::span<const float> z, double largest, double temperature,
                    std::span<double> out);
/// Likewise of sums of logarithms; out may be z.
double exponentials(std::span<const double> z, double largest, double temperature,
                    std::span<double> out);

/// p = e / total. @param e, p  [classes]
void normalise(std::span<const double> e, double total, std::span<float> p);

/// sum += weight * e / total, and p = sum / weight_sum. @param e, sum, p  [classes]
void add_weighted(std::span<const double> e, double total, double weight, double weight_sum,
                  std::span<double> sum, std::span<float> p);

/// sum += (z - largest) / temperature - log_total. @param z, sum  [classes]
void add_logarithms(std::span<const float> z, double largest, double temperature, double log_total,
                    std::span<double> sum);

/// The sum of -p log p, nats. @param p  [classes] in [0, 1]
double entropy(std::span<const float> p);

/// The largest less the second largest; of one value that value. NaN where all are.
float margin(std::span<const float> p);

/// Σ e, Σ e d, Σ e d² of e = exp(b d), d = z - largest.
struct Moments {
  double sum = 0, first = 0, second = 0;
};
Moments moments(std::span<const float> z, double largest, double b);

}  // namespace offramp::detail
