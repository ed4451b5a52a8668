// Measures training with several processes on one machine, and how long they wait for each other:
//
//   build/release/bench/ranks_bench [--width 64] [--batch 128] [--steps 6] [--rounds 3]
//
// Each row trains ResNet-18 with two early exits in bf16 (f32 where the CPU has no fast bf16) on
// images of noise that lie in memory, so that no loader is measured. A delay is put into every sum
// over the ranks: it is complete no earlier than so long after it was begun, as in a network with
// that latency; sums that were begun together wait together. For each row it prints
//
//   images/s   of all ranks together, the median of the rounds
//   waited     milliseconds per step that rank 0 waited, after its backward pass, for the sums of
//              gradients, of the loss and of the running statistics, and so for the other ranks
//   batch norm milliseconds per step that it waited for batch norms' sums, which nothing can hide
//
// Rows are repeated in turn, because a machine's speed changes with time.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "core/numbers.h"
#include "tests/support/rank_processes.h"
#include "train/bucketed_exchange.h"
#include "train/run.h"
#include "train/torch_setup.h"
#include "train/trainer.h"

namespace {

using namespace offramp;
using train::ProcessGroup;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// A process group whose sums take at least `delay`. It measures how long they are waited for.
class DelayedGroup : public ProcessGroup {
 public:
  DelayedGroup(ProcessGroup& inner, std::chrono::milliseconds delay)
      : inner_(inner), delay_(delay) {}

  int rank() const override { return inner_.rank(); }
  int world() const override { return inner_.world(); }
  std::unique_ptr<Work> begin_sum(const torch::Tensor& tensor, Channel channel) override {
    return std::make_unique<DelayedWork>(*this, inner_.begin_sum(tensor, channel));
  }
  /// Seconds that this rank has waited for sums since the last call.
  double take_waited() { return std::exchange(waited_, 0.0); }

 private:
  class DelayedWork : public Work {
   public:
    DelayedWork(DelayedGroup& group, std::unique_ptr<Work> inner)
        : group_(group), inner_(std::move(inner)), complete_(Clock::now() + group.delay_) {}
    void wait() override {
      const auto before = Clock::now();
      inner_->wait();
      std::this_thread::sleep_until(complete_);
      group_.waited_ += seconds_since(before);
    }

   private:
    DelayedGroup& group_;
    std::unique_ptr<Work> inner_;
    Clock::time_point complete_;  // at the earliest
  };

  ProcessGroup& inner_;
  std::chrono::milliseconds delay_;
  double waited_ = 0;
};

// The share of a rank in batches of noise.
class NoiseBatches : public train::Batches {
 public:
  NoiseBatches(std::int64_t batch, int rank, int world)
      : batch_(batch),
        images_(torch::randn({batch * (rank + 1) / world - batch * rank / world, 3, 32, 32})
                    .contiguous(torch::MemoryFormat::ChannelsLast)),
        labels_(torch::randint(10, {images_.size(0)}, torch::kLong)) {}
  std::int64_t steps_per_epoch() const override { return 1 << 20; }
  double seconds_waited() const override { return 0; }
  train::TensorBatch next() override { return {images_, labels_, batch_}; }

 private:
  std::int64_t batch_;
  torch::Tensor images_, labels_;
};

struct Settings {
  int width = 64, steps = 6, rounds = 3;
  std::int64_t batch = 128;
};

struct Row {
  int world = 1, threads = 1, delay_ms = 0;
  bool synchronised = true;  // batch norm uses the images of all ranks
};

// Trains some steps as one rank, after two that are not measured.
// @return seconds per step: all, waited, waited for batch norm
std::string measure(ProcessGroup& all, const Row& row, const Settings& settings) {
  train::keep_freed_memory();
  torch::set_num_threads(row.threads);
  torch::manual_seed(1);
  recipe::Recipe recipe;
  recipe.network.options.width = settings.width;
  recipe.network.exits = {"1", "2"};
  recipe.train.schedule = recipe::Schedule::constant;
  recipe.train.lr = 0.01;
  const std::chrono::milliseconds delay(row.delay_ms);
  DelayedGroup group(all, delay), batch_norm_group(all, delay);
  std::optional<train::GroupMoments> moments;
  std::optional<train::BucketedExchange> exchange;
  if (row.world > 1) {
    exchange.emplace(group);
    if (row.synchronised) exchange->count_out(moments.emplace(batch_norm_group));
  }
  train::Trainer trainer(train::TorchNetwork(train::graph_for(recipe, 32, 32, 10), torch::kCPU, 7),
                         {0.3, 0.3, 1}, recipe.train, 1 << 20, exchange ? &*exchange : nullptr,
                         moments ? &*moments : nullptr);
  NoiseBatches batches(settings.batch, all.rank(), all.world());
  for (int i = 0; i < 2; ++i) trainer.step(batches);
  group.take_waited();
  batch_norm_group.take_waited();
  const auto begin = Clock::now();
  for (int i = 0; i < settings.steps; ++i) trainer.step(batches);
  const double seconds = seconds_since(begin);
  return fmt::format("{} {} {}", seconds / settings.steps, group.take_waited() / settings.steps,
                     batch_norm_group.take_waited() / settings.steps);
}

struct Figures {
  std::vector<double> seconds, waited, batch_norm;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures training with several processes on one machine.");
  Settings settings;
  app.add_option("--width", settings.width, "width of ResNet-18")->check(CLI::PositiveNumber);
  app.add_option("--batch", settings.batch, "images per step, of all ranks together")
      ->check(CLI::PositiveNumber);
  app.add_option("--steps", settings.steps, "measured steps per row and round")
      ->check(CLI::PositiveNumber);
  app.add_option("--rounds", settings.rounds, "how often each row is measured")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  // These processes fork the ranks, so they must not use LibTorch themselves.
  const std::vector<Row> rows = {{1, 2},    {2, 1},           {4, 1},     {2, 1, 0, false},
                                 {2, 1, 1}, {2, 1, 1, false}, {2, 1, 10}, {2, 1, 10, false}};
  std::vector<Figures> figures(rows.size());
  for (int round = 0; round < settings.rounds; ++round)
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const auto results = test::run_ranks(
          rows[r].world, [&](ProcessGroup& group) { return measure(group, rows[r], settings); },
          std::chrono::seconds(120));
      for (const test::RankResult& result : results)
        if (result.status != 0) {
          std::cerr << "ranks_bench: " << result.text << "\n";
          return 1;
        }
      double seconds = 0, waited = 0, batch_norm = 0;
      std::istringstream(results[0].text) >> seconds >> waited >> batch_norm;
      figures[r].seconds.push_back(seconds);
      figures[r].waited.push_back(waited);
      figures[r].batch_norm.push_back(batch_norm);
    }
  fmt::print(
      "| ranks x threads | delay, ms | batch norm over | images/s | waited, ms | batch norm, ms |\n"
      "|---|---|---|---|---|---|\n");
  for (std::size_t r = 0; r < rows.size(); ++r)
    fmt::print("| {} x {} | {} | {} | {:.1f} | {:.1f} | {:.1f} |\n", rows[r].world, rows[r].threads,
               rows[r].delay_ms,
               rows[r].world == 1     ? "-"
               : rows[r].synchronised ? "all ranks"
                                      : "each rank",
               static_cast<double>(settings.batch) / core::median(figures[r].seconds),
               1000 * core::median(figures[r].waited), 1000 * core::median(figures[r].batch_norm));
}
