#include "train/batch_norm.h"

#include <gtest/gtest.h>

#include <limits>

#include "train/torch_setup.h"

namespace offramp::train {
namespace {

using torch::Tensor;

struct Case {
  std::int64_t n, c, h, w;
  bool relu, residual;
  torch::ScalarType type;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.n << "x" << c.c << "x" << c.h << "x" << c.w << (c.relu ? " relu" : "")
             << (c.residual ? " residual" : "") << " " << c.type;
}

struct Outcome {
  Tensor y, dx, dresidual, dweight, dbias, running_mean, running_var;
};

// Returns the gradients of sum(y * direction).
Outcome run(const Case& c, const Tensor& x0, const Tensor& r0, const Tensor& direction,
            bool fused) {
  const auto type = fused ? torch::kFloat : torch::kDouble;
  Tensor x = x0.detach().clone().set_requires_grad(true);
  Tensor residual = c.residual ? r0.detach().clone().set_requires_grad(true) : Tensor();
  Tensor weight = torch::linspace(0.5, 1.5, c.c, type).set_requires_grad(true);
  Tensor bias = torch::linspace(-0.4, 0.3, c.c, type).set_requires_grad(true);
  const BatchNormTensors t{weight, bias, torch::full({c.c}, 0.25, type),
                           torch::full({c.c}, 2.0, type)};
  Tensor y;
  if (fused) {
    y = batch_norm_act(x, t, residual, c.relu, true, 0.1, 1e-5);
  } else {
    y = torch::batch_norm(x, weight, bias, t.running_mean, t.running_var, true, 0.1, 1e-5, false);
    if (c.residual) y = y + residual;
    if (c.relu) y = torch::relu(y);
  }
  (y * direction).sum().backward();
  return {y.detach(),    x.grad(),    c.residual ? residual.grad() : Tensor(),
          weight.grad(), bias.grad(), t.running_mean,
          t.running_var};
}

double relative_difference(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(torch::kDouble), y = b.to(torch::kDouble);
  return ((x - y).norm() / y.norm().clamp_min(1e-12)).item<double>();
}

class BatchNormAct : public testing::TestWithParam<Case> {};

TEST_P(BatchNormAct, EqualsTheThreeSeparateOperationsAndTheirGradients) {
  const Case c = GetParam();
  torch::manual_seed(7);
  const auto channels_last = at::MemoryFormat::ChannelsLast;
  // With a mean far from zero, a variance computed with cancellation would be wrong.
  const Tensor x = (torch::randn({c.n, c.c, c.h, c.w}) + 5).contiguous(channels_last);
  const Tensor residual = torch::randn_like(x).contiguous(channels_last);
  const Tensor direction = torch::randn({c.n, c.c, c.h, c.w});
  const Tensor x_in = x.to(c.type), r_in = residual.to(c.type);
  const Outcome ours = run(c, x_in, r_in, direction, true);
  // The reference computes in f64 from the same rounded inputs.
  const Outcome exact = run(c, x_in.to(torch::kDouble), r_in.to(torch::kDouble), direction, false);

  // bf16 keeps 8 bits: each rounding is up to 2^-9 of a value, and there are up to three on a path.
  // Near zero the sign of the output may differ, and with it the relu, for a few values.
  const double tolerance = c.type == torch::kFloat ? 2e-5 : 2e-2;
  EXPECT_LT(relative_difference(ours.y, exact.y), tolerance);
  EXPECT_LT(relative_difference(ours.dweight, exact.dweight), tolerance);
  EXPECT_LT(relative_difference(ours.dbias, exact.dbias), tolerance);
  EXPECT_LT(relative_difference(ours.running_mean, exact.running_mean), 1e-5);
  EXPECT_LT(relative_difference(ours.running_var, exact.running_var), 1e-5);
  EXPECT_LT(relative_difference(ours.dx, exact.dx), tolerance);
  if (c.residual) {
    EXPECT_LT(relative_difference(ours.dresidual, exact.dresidual), tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, BatchNormAct,
                         testing::Values(Case{4, 16, 8, 8, true, true, torch::kFloat},
                                         Case{4, 16, 8, 8, true, false, torch::kFloat},
                                         Case{4, 16, 8, 8, false, true, torch::kFloat},
                                         Case{4, 16, 8, 8, false, false, torch::kFloat},
                                         Case{3, 7, 5, 11, true, true, torch::kFloat},
                                         Case{1, 1, 13, 1, true, false, torch::kFloat},
                                         Case{5, 33, 1, 1, false, false, torch::kFloat},
                                         Case{2, 64, 31, 17, true, true, torch::kFloat},
                                         Case{4, 16, 8, 8, true, true, torch::kBFloat16},
                                         Case{4, 16, 8, 8, true, false, torch::kBFloat16},
                                         Case{4, 16, 8, 8, false, false, torch::kBFloat16},
                                         Case{3, 7, 5, 11, true, true, torch::kBFloat16}));

TEST(BatchNormAct, KeepsNaN) {
  Tensor x = torch::ones({2, 4, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast);
  x.index_put_({0, 1, 0, 0}, std::numeric_limits<float>::quiet_NaN());
  const BatchNormTensors t{torch::ones({4}), torch::zeros({4}), torch::zeros({4}),
                           torch::ones({4})};
  EXPECT_TRUE(batch_norm_act(x, t, Tensor(), true, true, 0.1, 1e-5).isnan().any().item<bool>());
}

TEST(BatchNormAct, DoesNotDependOnTheNumberOfThreads) {
  torch::manual_seed(3);
  const Tensor x = torch::randn({16, 32, 16, 16}).contiguous(at::MemoryFormat::ChannelsLast);
  Tensor results[2];
  for (const int threads : {1, 2}) {
    set_threads(threads);
    const BatchNormTensors t{torch::ones({32}), torch::zeros({32}), torch::zeros({32}),
                             torch::ones({32})};
    results[threads - 1] = batch_norm_act(x, t, Tensor(), true, true, 0.1, 1e-5);
  }
  EXPECT_TRUE(torch::equal(results[0], results[1]));
}

TEST(BatchNormAct, UsesTheRunningStatisticsOutsideTraining) {
  torch::manual_seed(5);
  const Tensor x = torch::randn({3, 8, 5, 5}).contiguous(at::MemoryFormat::ChannelsLast);
  const BatchNormTensors t{torch::rand({8}), torch::rand({8}), torch::rand({8}),
                           torch::rand({8}) + 0.5};
  const Tensor mean = t.running_mean.clone();
  const Tensor ours = batch_norm_act(x, t, x, true, false, 0.1, 1e-5);
  const Tensor theirs = torch::relu(torch::batch_norm(x, t.weight, t.bias, t.running_mean,
                                                      t.running_var, false, 0.1, 1e-5, false) +
                                    x);
  EXPECT_LT(relative_difference(ours, theirs), 1e-6);
  EXPECT_TRUE(torch::equal(t.running_mean, mean));
}

}  // namespace
}  // namespace offramp::train
