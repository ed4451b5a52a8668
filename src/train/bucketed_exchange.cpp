#include "train/bucketed_exchange.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "core/numbers.h"

namespace offramp::train {
namespace {

using torch::Tensor;
using torch::autograd::variable_list;
using Clock = std::chrono::steady_clock;
using Channel = ProcessGroup::Channel;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// Called by autograd after it has stored the gradient of a parameter.
struct GradientHook : torch::autograd::FunctionPostHook {
  explicit GradientHook(std::function<void()> with) : call(std::move(with)) {}
  variable_list operator()(const variable_list& outputs, const variable_list&) override {
    call();
    return outputs;
  }
  std::function<void()> call;
};

// Gradients that are sent together, in one array of f32: those of the parameters, then one number
// for each, which is 1 if it has a gradient.
struct Bucket {
  Tensor flat;
  std::vector<std::size_t> parameters;
  std::vector<std::int64_t> offsets;  // [parameters] offset of each gradient in `flat`
  std::int64_t values = 0;            // number of values of all gradients
  std::size_t missing = 0;            // number of gradients that do not exist yet in this step
  std::unique_ptr<ProcessGroup::Work> work;
};

/// Where the gradient of a parameter is: its bucket, and its index among the bucket's parameters.
struct BucketPosition {
  std::size_t bucket = 0, index = 0;
};

}  // namespace

struct BucketedExchange::Impl {
  Impl(ProcessGroup& with, std::int64_t first, std::int64_t others)
      : group(with), first_bytes(first), other_bytes(others) {}

  void make_buckets() {
    positions.resize(weights.size());
    std::int64_t room = 0;
    for (std::size_t i = weights.size(); i-- > 0;) {
      const std::int64_t bytes = weights[i].numel() * 4;
      if (buckets.empty() || bytes > room) {
        room = buckets.empty() ? first_bytes : other_bytes;
        buckets.emplace_back();
      }
      room -= bytes;
      Bucket& bucket = buckets.back();
      positions[i] = {buckets.size() - 1, bucket.parameters.size()};
      bucket.parameters.push_back(i);
      bucket.offsets.push_back(bucket.values);
      bucket.values += weights[i].numel();
    }
    for (Bucket& bucket : buckets)
      bucket.flat = torch::zeros({bucket.values + std::ssize(bucket.parameters)},
                                 weights.front().options().requires_grad(false));
  }

  // Returns the part of the bucket for a parameter, with the parameter's shape and strides.
  Tensor part(const BucketPosition& position) const {
    const Bucket& bucket = buckets[position.bucket];
    const Tensor& weight = weights[bucket.parameters[position.index]];
    return bucket.flat.as_strided(weight.sizes(), weight.strides(), bucket.offsets[position.index]);
  }
  Tensor flag(const BucketPosition& position) const {
    const Bucket& bucket = buckets[position.bucket];
    return bucket.flat[bucket.values + static_cast<std::int64_t>(position.index)];
  }

  void on_gradient(std::size_t parameter) {
    if (!in_step) return;
    const BucketPosition position = positions[parameter];
    Bucket& bucket = buckets[position.bucket];
    torch::NoGradGuard no_grad;
    part(position).copy_(weights[parameter].grad());
    flag(position).fill_(1);
    if (--bucket.missing == 0) send_complete_buckets();
  }

  void send_complete_buckets() {
    for (; sent < buckets.size() && buckets[sent].missing == 0; ++sent)
      buckets[sent].work = group.begin_sum(buckets[sent].flat, Channel::gradients);
  }

  void begin_step(std::span<double> given) {
    torch::NoGradGuard no_grad;
    totals = given;
    if (after_pause) {
      step_began = Clock::now();
      moments_began = moments ? moments->seconds() : 0;
      after_pause = false;
    }
    for (Bucket& bucket : buckets) {
      bucket.missing = bucket.parameters.size();
      bucket.flat.slice(0, bucket.values).zero_();  // the flags
    }
    sent = 0;
    in_step = true;
  }

  // Sends totals and statistics on the channel of the moments, where nothing else is sent now. On
  // that of the gradients the ranks might have sent different numbers of buckets.
  void send_totals() {
    sums = torch::zeros({std::ssize(totals) + group.world()}, torch::kDouble);
    std::ranges::copy(totals, sums.data_ptr<double>());
    sums[std::ssize(totals) + group.rank()] = own_seconds;
    sums_work = group.begin_sum(sums, Channel::statistics);
    if (statistics.empty()) return;
    std::vector<Tensor> flat;
    // The mean is computed in f64, so that statistics that are equal on all ranks keep their bits.
    for (const Tensor& one : statistics) flat.push_back(one.detach().flatten().to(torch::kDouble));
    statistics_sum = torch::cat(flat);
    statistics_work = group.begin_sum(statistics_sum, Channel::statistics);
  }

  void finish_step() {
    torch::NoGradGuard no_grad;
    in_step = false;
    early = sent;
    for (std::size_t b = sent; b < buckets.size(); ++b) {
      for (std::size_t i = 0; i < buckets[b].parameters.size(); ++i)
        if (flag({b, i}).item<float>() == 0) part({b, i}).zero_();
      buckets[b].missing = 0;
    }
    send_complete_buckets();
    own_seconds = seconds_between(step_began, Clock::now()) - moments_seconds();
    send_totals();
    sums_work->wait();
    std::copy_n(sums.data_ptr<double>(), totals.size(), totals.begin());
    add_seconds();
    if (statistics_work) {
      statistics_work->wait();
      take_statistics();
    }
    for (std::size_t b = 0; b < buckets.size(); ++b) {
      buckets[b].work->wait();
      buckets[b].work.reset();
      take_gradients(b);
    }
    step_began = Clock::now();
    moments_began = moments ? moments->seconds() : 0;
  }

  double moments_seconds() const { return moments ? moments->seconds() - moments_began : 0; }

  // Replaces the running statistics by their mean over the ranks.
  void take_statistics() {
    statistics_sum.div_(group.world());
    std::int64_t begin = 0;
    for (const Tensor& one : statistics) {
      one.detach().copy_(statistics_sum.slice(0, begin, begin + one.numel()).view(one.sizes()));
      begin += one.numel();
    }
  }

  void take_gradients(std::size_t b) {
    const Bucket& bucket = buckets[b];
    for (std::size_t i = 0; i < bucket.parameters.size(); ++i) {
      const BucketPosition position{b, i};
      Tensor& gradient = weights[bucket.parameters[i]].mutable_grad();
      gradient = flag(position).item<float>() > 0 ? part(position) : Tensor();
    }
  }

  void add_seconds() {
    seconds.resize(static_cast<std::size_t>(group.world()));
    for (std::size_t r = 0; r < seconds.size(); ++r)
      seconds[r] += sums.data_ptr<double>()[totals.size() + r];
    ++steps;
  }

  ProcessGroup& group;
  std::int64_t first_bytes, other_bytes;
  std::vector<Tensor> weights, statistics;
  std::vector<std::shared_ptr<torch::autograd::Node>> accumulators;  // keep the hooks
  std::vector<Bucket> buckets;
  std::vector<BucketPosition> positions;  // [weights]
  bool in_step = false;
  std::size_t sent = 0, early = 0;
  std::span<double> totals;
  Tensor sums;  // `totals`, then the seconds of the last step of each rank
  Tensor statistics_sum;
  std::unique_ptr<ProcessGroup::Work> sums_work, statistics_work;
  GroupMoments* moments = nullptr;
  // After seconds_of_ranks(), a run evaluates and saves before the next step. That time does not
  // belong to a step.
  bool after_pause = true;
  Clock::time_point step_began;
  double moments_began = 0, own_seconds = 0;
  std::vector<double> seconds;
  std::int64_t steps = 0;
};

BucketedExchange::BucketedExchange(ProcessGroup& group, std::int64_t first_bytes,
                                   std::int64_t other_bytes)
    : impl_(std::make_shared<Impl>(group, first_bytes, other_bytes)) {}

BucketedExchange::~BucketedExchange() = default;

void BucketedExchange::count_out(GroupMoments& moments) { impl_->moments = &moments; }

void BucketedExchange::prepare(std::span<const Tensor> weights,
                               std::span<const Tensor> statistics) {
  impl_->weights.assign(weights.begin(), weights.end());
  impl_->statistics.assign(statistics.begin(), statistics.end());
  if (weights.empty()) return;
  impl_->make_buckets();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    impl_->accumulators.push_back(torch::autograd::impl::grad_accumulator(weights[i]));
    impl_->accumulators.back()->add_post_hook(
        std::make_unique<GradientHook>([impl = std::weak_ptr(impl_), i] {
          if (const auto alive = impl.lock()) alive->on_gradient(i);
        }));
  }
}

void BucketedExchange::begin_step(std::span<double> totals) { impl_->begin_step(totals); }
void BucketedExchange::exchange(std::span<const Tensor>) { impl_->finish_step(); }
std::size_t BucketedExchange::num_buckets() const { return impl_->buckets.size(); }
std::size_t BucketedExchange::sent_early() const { return impl_->early; }

std::vector<double> BucketedExchange::seconds_of_ranks() {
  const auto steps = static_cast<double>(impl_->steps);
  std::vector<double> result;
  if (impl_->steps > 0)
    for (const double sum : impl_->seconds) result.push_back(sum / steps);
  impl_->seconds.clear();
  impl_->steps = 0;
  impl_->after_pause = true;
  return result;
}

std::optional<std::string> slow_rank_text(const std::vector<double>& seconds) {
  if (seconds.size() < 2) return std::nullopt;
  const auto slowest = std::ranges::max_element(seconds);
  std::vector<double> others(seconds.begin(), slowest);
  others.insert(others.end(), slowest + 1, seconds.end());
  const double median = core::median(std::move(others));
  if (*slowest < 1.5 * median) return std::nullopt;
  return fmt::format(
      "rank {} is slow: it computes {:.3g} s per step, the median of the others is {:.3g} s; all "
      "ranks wait for it",
      slowest - seconds.begin(), *slowest, median);
}

void GroupMoments::sum(const Tensor& values) {
  const auto before = Clock::now();
  group_.sum(values, Channel::statistics);
  seconds_ += seconds_between(before, Clock::now());
}

}  // namespace offramp::train
