#include "policy/drift.h"

#include <algorithm>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <cstddef>

#include "core/error.h"
#include "policy/boost_math.h"

namespace offramp::policy {

ExitWindow::ExitWindow(int exits, double memory)
    : decay_(1 - 1 / memory), weights_(static_cast<std::size_t>(exits)) {
  OFFRAMP_ASSERT(exits >= 1 && memory > 1);
}

void ExitWindow::add(int exit_index) {
  for (double& weight : weights_) weight *= decay_;
  squares_ = squares_ * decay_ * decay_ + 1;
  weights_[static_cast<std::size_t>(exit_index)] += 1;
}

std::vector<double> ExitWindow::shares() const {
  double total = 0;
  for (const double weight : weights_) total += weight;
  std::vector<double> shares = weights_;
  if (total > 0)
    for (double& share : shares) share /= total;
  return shares;
}

double ExitWindow::images() const {
  double total = 0;
  for (const double weight : weights_) total += weight;
  return squares_ > 0 ? total * total / squares_ : 0;
}

std::string_view to_string(Drift drift) {
  switch (drift) {
    case Drift::unknown:
      return "unknown";
    case Drift::none:
      return "none";
    case Drift::drifted:
      return "drifted";
  }
  return "";
}

double chi_square_tail(double x, int degrees) {
  OFFRAMP_ASSERT(degrees >= 1);
  if (!(x > 0)) return 1;
  return boost::math::gamma_q(0.5 * degrees, 0.5 * x, detail::MathPolicy{});
}

DriftVerdict compare_exits(std::span<const double> now, double now_images,
                           std::span<const double> then, double then_images,
                           const DriftRule& rule) {
  OFFRAMP_ASSERT(now.size() == then.size());
  DriftVerdict verdict;
  for (std::size_t k = 0; k < now.size(); ++k) verdict.distance += std::abs(now[k] - then[k]) / 2;
  if (now_images < rule.least_images || then_images < rule.least_images) return verdict;

  struct Cell {
    double now = 0, then = 0, pooled = 0;  // shares of images
  };
  const double all = now_images + then_images, fewer = std::min(now_images, then_images);
  std::vector<Cell> cells;
  bool open = false;  // the expected count of the last cell is below 5
  for (std::size_t k = 0; k < now.size(); ++k) {
    if (!open) cells.emplace_back();
    Cell& cell = cells.back();
    cell.now += now[k];
    cell.then += then[k];
    cell.pooled += (now[k] * now_images + then[k] * then_images) / all;
    open = cell.pooled * fewer < 5;
  }
  if (open && cells.size() > 1) {
    const Cell last = cells.back();
    cells.pop_back();
    cells.back().now += last.now;
    cells.back().then += last.then;
    cells.back().pooled += last.pooled;
  }
  verdict.drift = Drift::none;
  if (cells.size() < 2) return verdict;  // all images stop at the same exit in both histograms
  double statistic = 0;
  for (const Cell& cell : cells)
    statistic += (cell.now - cell.then) * (cell.now - cell.then) / cell.pooled;
  statistic *= now_images * then_images / all;
  verdict.p_value = chi_square_tail(statistic, static_cast<int>(cells.size()) - 1);
  if (verdict.p_value < rule.level && verdict.distance >= rule.least_distance)
    verdict.drift = Drift::drifted;
  return verdict;
}

}  // namespace offramp::policy
