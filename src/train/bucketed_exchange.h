#pragma once

#include <torch/torch.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "train/batch_norm.h"
#include "train/gradient_exchange.h"
#include "train/process_group.h"

namespace offramp::train {

/// Sums the moments of batch norms over all ranks.
class GroupMoments : public MomentsExchange {
 public:
  explicit GroupMoments(ProcessGroup& group) : group_(group) {}
  void sum(const torch::Tensor& values) override;
  /// Total seconds that sum() has taken.
  double seconds() const { return seconds_; }

 private:
  ProcessGroup& group_;
  double seconds_ = 0;
};

/// Sums gradients over the ranks while the backward pass still runs, as PyTorch's
/// DistributedDataParallel does (Li et al., 2020). Gradients are collected in buckets in the
/// reverse order of the parameters, the first of 1 MiB, the others of 25 MiB. A bucket is sent when
/// all its gradients exist; buckets are sent in the same order on every rank. A parameter that has
/// no gradient on this rank counts as zero. One that has none on any rank keeps none, so that
/// momentum and weight decay do not change it.
class BucketedExchange : public GradientExchange {
 public:
  static constexpr std::int64_t kFirstBytes = std::int64_t{1} << 20;
  static constexpr std::int64_t kOtherBytes = std::int64_t{25} << 20;

  /// `group` must outlive the exchange.
  explicit BucketedExchange(ProcessGroup& group, std::int64_t first_bytes = kFirstBytes,
                            std::int64_t other_bytes = kOtherBytes);
  ~BucketedExchange() override;

  void prepare(std::span<const torch::Tensor> weights,
               std::span<const torch::Tensor> statistics) override;
  void begin_step(std::span<double> totals) override;
  void exchange(std::span<const torch::Tensor> gradients) override;

  /// Leaves the waiting of these moments out of the seconds that this rank computes.
  void count_out(GroupMoments& moments);

  std::size_t num_buckets() const;
  /// Buckets that were sent before the backward pass of the last step had ended.
  std::size_t sent_early() const;

  /// Mean seconds per step that each rank computed, without waiting for others, since the last
  /// call; empty if there was no step.
  std::vector<double> seconds_of_ranks();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // the hooks of the weights refer to it, and may outlive this object
};

/// Names the rank that takes at least 1.5 times as long for a step as the median of the others.
/// @param seconds  [world] seconds per step of each rank
/// @return nullopt if none does
std::optional<std::string> slow_rank_text(const std::vector<double>& seconds);

}  // namespace offramp::train
