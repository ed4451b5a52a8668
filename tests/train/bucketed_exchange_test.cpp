#include "train/bucketed_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/support/rank_processes.h"
#include "train/loss.h"
#include "train/run.h"
#include "train/trainer.h"

namespace offramp::train {
namespace {

using torch::Tensor;

Tensor parameter(std::int64_t size) { return torch::zeros({size}).set_requires_grad(true); }

TEST(BucketedExchange, SumsGradientsAndKeepsThoseThatNobodyHasUndefined) {
  const auto results = test::run_ranks(3, [](ProcessGroup& group) {
    // In reverse order: "both" and "one" fill the first bucket, the others have one each.
    const Tensor none = parameter(3), large = parameter(40), one = parameter(2),
                 both = parameter(2);
    BucketedExchange exchange(group, 16, 160);
    const std::vector<Tensor> weights = {none, large, one, both};
    const Tensor statistics = torch::full({2}, static_cast<float>(group.rank()));
    exchange.prepare(weights, {&statistics, 1});
    std::string text;
    for (int step = 0; step < 2; ++step) {
      std::vector<double> totals = {1.0 * group.rank(), 1};
      Tensor loss = (group.rank() + 1) * (both.sum() + 2 * large.sum());
      if (group.rank() == 1) loss = loss + 5 * one.sum();
      exchange.begin_step(totals);
      loss.backward();
      exchange.exchange({});
      text = fmt::format("{} {} | {} {} {} {} | {} | buckets {}", totals[0], totals[1],
                         none.grad().defined(), large.grad()[39].item<float>(),
                         one.grad()[1].item<float>(), both.grad()[0].item<float>(),
                         statistics[1].item<float>(), exchange.num_buckets());
      for (Tensor weight : weights) weight.mutable_grad() = Tensor();
      statistics.fill_(group.rank());
    }
    return text;
  });
  for (const auto& [status, text] : results)
    EXPECT_EQ(text, "3 3 | false 12 5 6 | 1 | buckets 3") << status;
}

TEST(BucketedExchange, SendsBucketsWhileTheBackwardPassRuns) {
  const auto results = test::run_ranks(2, [](ProcessGroup& group) {
    const Tensor first = parameter(10), second = parameter(10), third = parameter(10);
    BucketedExchange exchange(group, 40, 40);
    const std::vector<Tensor> weights = {first, second, third};
    exchange.prepare(weights, {});
    std::vector<double> totals = {0};
    const Tensor loss = (((first * 2).tanh() + second).tanh() + third).sum();
    exchange.begin_step(totals);
    loss.backward();
    const std::size_t early = exchange.sent_early();
    exchange.exchange({});
    return fmt::format("{} {}", early, exchange.sent_early());
  });
  for (const auto& [status, text] : results) EXPECT_EQ(text, "0 3") << status;
}

TEST(SlowRank, IsNamedIfItTakesHalfAsLongAgain) {
  EXPECT_EQ(slow_rank_text({}), std::nullopt);
  EXPECT_EQ(slow_rank_text({1, 1.4, 1.1}), std::nullopt);
  EXPECT_EQ(slow_rank_text({1, 1.1, 3, 0.9}),
            "rank 2 is slow: it computes 3 s per step, the median of the others is 1 s; all ranks "
            "wait for it");
}

/// Random images and labels, the same in every process, of which a rank takes its share.
class RandomBatches : public Batches {
 public:
  RandomBatches(const ProcessGroup* group, torch::ScalarType type)
      : rank_(group ? group->rank() : 0), world_(group ? group->world() : 1), type_(type) {}
  std::int64_t steps_per_epoch() const override { return 4; }
  double seconds_waited() const override { return 0; }
  TensorBatch next() override {
    constexpr std::int64_t kBatch = 16;
    torch::manual_seed(++step_);
    const Tensor images = torch::randn({kBatch, 3, 32, 32}, torch::kDouble).to(type_);
    const Tensor labels = torch::randint(4, {kBatch}, torch::kLong);
    const std::int64_t begin = kBatch * rank_ / world_, end = kBatch * (rank_ + 1) / world_;
    return {images.slice(0, begin, end), labels.slice(0, begin, end), kBatch};
  }

 private:
  int rank_, world_;
  torch::ScalarType type_;
  std::uint64_t step_ = 0;
};

recipe::Recipe small_recipe() {
  recipe::Recipe recipe;
  recipe.network.options.width = 4;
  recipe.network.exits = {"1"};
  recipe.network.units = 2;
  recipe.train.lr = 0.05;
  recipe.train.schedule = recipe::Schedule::constant;
  recipe.train.precision = recipe::PrecisionChoice::f32;
  return recipe;
}

/// Trains a network in f64 with plain gradient descent and batch norm over all ranks.
/// @return the sums of all weights and statistics, in f64 with all digits
std::string minimise(ProcessGroup* group, int steps) {
  torch::set_num_threads(1);
  const recipe::Recipe recipe = small_recipe();
  TorchNetwork network(graph_for(recipe, 32, 32, 4), torch::kCPU, 7);
  for (const auto& [name, tensor] : network.tensors()) {
    Tensor changed = tensor;
    changed.set_data(tensor.detach().to(torch::kDouble));
  }
  TorchNetwork::Mode mode;
  mode.training = true;
  mode.precision = torch::kDouble;
  std::optional<GroupMoments> moments;
  std::optional<BucketedExchange> exchange;
  std::vector<Tensor> weights;
  for (const graph::Parameter& p : network.parameters())
    if (p.trained()) weights.push_back(network.tensors().at(p.name));
  if (group != nullptr) {
    mode.moments = &moments.emplace(*group);
    exchange.emplace(*group, 4096, 16384).prepare(weights, {});
  }
  RandomBatches batches(group, torch::kDouble);
  for (int i = 0; i < steps; ++i) {
    const TensorBatch batch = batches.next();
    std::vector<double> totals = {0};
    const auto share = static_cast<double>(batch.labels.size(0)) / static_cast<double>(batch.total);
    const Tensor loss = share * exit_loss(network.forward(batch.images, mode), batch.labels,
                                          {0.5, 0.5}, recipe.train);
    if (exchange) exchange->begin_step(totals);
    loss.backward();
    if (exchange) exchange->exchange({});
    torch::NoGradGuard no_grad;
    // The steps are small: with large ones the smallest difference in rounding grows tenfold every
    // few steps, in one process, too.
    constexpr double kRate = 0.002;
    for (Tensor& weight : weights) {
      weight.sub_(weight.grad(), kRate);
      weight.mutable_grad() = Tensor();
    }
  }
  std::string text;
  for (const auto& [name, tensor] : network.tensors())
    text += fmt::format("{:.17g} ", tensor.detach().to(torch::kDouble).abs().sum().item<double>());
  return text;
}

double largest_relative_difference(const std::string& a, const std::string& b) {
  std::istringstream first(a), second(b);
  double x = 0, y = 0, largest = 0;
  int count = 0;
  while (first >> x && second >> y) {
    largest = std::max(largest, std::abs(x - y) / std::max(std::abs(x), 1e-9));
    ++count;
  }
  return count > 20 ? largest : INFINITY;
}

TEST(BucketedExchange, LetsTwoRanksFollowOneInDoublePrecisionOverFiftySteps) {
  const auto two = test::run_ranks(2, [](ProcessGroup& group) { return minimise(&group, 50); });
  ASSERT_EQ(two[0].status, 0) << two[0].text;
  EXPECT_EQ(two[0].text, two[1].text) << "the ranks stay equal to the bit";
  const std::string one = minimise(nullptr, 50);
  EXPECT_LT(largest_relative_difference(two[0].text, one), 1e-9);
  EXPECT_GT(largest_relative_difference(minimise(nullptr, 49), one), 1e-6) << "the test can fail";
}

/// Makes one step with the trainer, in f32 with the kernels of this program.
std::string one_step(ProcessGroup* group, bool over_all) {
  torch::set_num_threads(1);
  const recipe::Recipe recipe = small_recipe();
  TorchNetwork network(graph_for(recipe, 32, 32, 4), torch::kCPU, 7);
  std::optional<GroupMoments> moments;
  std::optional<BucketedExchange> exchange;
  if (group != nullptr) {
    exchange.emplace(*group);
    if (over_all) moments.emplace(*group);
  }
  Trainer trainer(std::move(network), {0.5, 0.5}, recipe.train, 4, exchange ? &*exchange : nullptr,
                  moments ? &*moments : nullptr);
  RandomBatches batches(group, torch::kFloat);
  trainer.step(batches);
  std::string text;
  for (const auto& [name, tensor] : trainer.tensors())
    text += fmt::format("{:.17g} ", tensor.detach().to(torch::kDouble).abs().sum().item<double>());
  return text + fmt::format("{} {}", trainer.state().loss_sum, trainer.state().seen);
}

TEST(BucketedExchange, LetsRanksFollowOneInF32AlsoWithUnevenShares) {
  std::vector<std::vector<test::RankResult>> over_all;
  for (const int world : {2, 3})
    over_all.push_back(
        test::run_ranks(world, [](ProcessGroup& group) { return one_step(&group, true); }));
  const auto own = test::run_ranks(2, [](ProcessGroup& group) { return one_step(&group, false); });
  EXPECT_EQ(own[0].text, own[1].text) << "statistics of own images are averaged";
  const std::string one = one_step(nullptr, false);
  for (const auto& results : over_all) {
    ASSERT_EQ(results[0].status, 0) << results[0].text;
    EXPECT_EQ(results[0].text, results[1].text);
    EXPECT_LT(largest_relative_difference(results[0].text, one), 1e-5);
  }
  EXPECT_GT(largest_relative_difference(own[0].text, one), 1e-5)
      << "batch norm over the images of one rank is another function";
}

}  // namespace
}  // namespace offramp::train
