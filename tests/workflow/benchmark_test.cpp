#include "workflow/benchmark.h"
#include "tests/support/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "engine/opened_model.h"
#include "graph/cost.h"
#include "image/image.h"
#include "model/model_file.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Percentiles by nearest rank: of the times 1, 2, … 200 ms, half are at most 100, 95 % at most 190.
TEST(Benchmark, LatenciesAreTimesOfImages) {
  std::vector<double> seconds;
  for (int i = 200; i >= 1; --i) seconds.push_back(1e-3 * i);
  const Latency latency = latency_of(seconds);
  EXPECT_DOUBLE_EQ(latency.p50, 100);
  EXPECT_DOUBLE_EQ(latency.p95, 190);
  EXPECT_DOUBLE_EQ(latency.p99, 198);
  EXPECT_DOUBLE_EQ(latency.max, 200);
  const Latency one = latency_of({0.004});
  EXPECT_DOUBLE_EQ(one.p50, 4);
  EXPECT_DOUBLE_EQ(one.p99, 4);
}

class BenchmarkOfAModel : public testing::Test {
 protected:
  BenchmarkOfAModel() {
    model = test::small_model(
        data::load_data("synthetic", data::Part::test, {.synthetic_train = 200}).dataset.classes);
    model::save_model(path, model);
  }

  BenchmarkOptions options() const {
    BenchmarkOptions result;
    result.model = path;
    result.precisions = {runtime::Precision::f32};
    result.seconds = 0.02;
    return result;
  }

  core::TemporaryFolder folder;
  model::ModelFile model;
  fs::path path = folder.path() / "model.safetensors";
};

TEST_F(BenchmarkOfAModel, TimesEveryRowThatIsAskedFor) {
  BenchmarkOptions how = options();
  how.batches = {1, 4};
  how.threads = 2;
  how.images = 40;
  how.policy.threshold = 0.14;
  const Benchmark result = benchmark(how);
  EXPECT_EQ(result.threads, 2);
  EXPECT_EQ(result.policy, "stop where confidence ≥ 0.14");
  ASSERT_EQ(result.rows.size(), 4u);
  std::vector<std::pair<BenchmarkMode, int>> seen;
  for (const BenchmarkRow& row : result.rows) {
    seen.emplace_back(row.mode, row.batch);
    EXPECT_EQ(row.precision, "f32");
    EXPECT_EQ(row.images, 40);
    EXPECT_GE(row.rounds, 5);
    EXPECT_GT(row.best.images_per_second, 0);
    EXPECT_GT(row.latency.p50, 0);
    EXPECT_LE(row.latency.p50, row.latency.p95);
    EXPECT_LE(row.latency.p95, row.latency.p99);
    EXPECT_LE(row.latency.p99, row.latency.max);
    EXPECT_FALSE(row.accuracy);
    EXPECT_EQ(row.best.split.streams * row.best.split.threads, 2);
    EXPECT_NE(row.other->split, row.best.split);
  }
  using enum BenchmarkMode;
  EXPECT_THAT(seen, testing::UnorderedElementsAre(std::pair(plain, 1), std::pair(plain, 4),
                                                  std::pair(adaptive, 1), std::pair(adaptive, 4)));
  EXPECT_EQ(result.rows[0].relative_cost, 1);
  EXPECT_EQ(result.rows[0].shares.size(), 1u);
}

// An untimed run must give the same accuracy, cost and shares.
TEST_F(BenchmarkOfAModel, GivesTheAccuracyAndCostOfTheRunItTimed) {
  BenchmarkOptions how = options();
  how.data = "synthetic";
  how.batches = {1, 8};
  how.images = 250;
  how.modes = {BenchmarkMode::adaptive, BenchmarkMode::exhaustive};
  how.policy.threshold = 0.14;
  how.command = "some benchmark";
  const std::vector<BenchmarkRow> rows = benchmark(how).rows;
  ASSERT_EQ(rows.size(), 4u);
  const graph::Cost cost = graph::cost_of(model.graph);
  for (const BenchmarkRow& row : rows) {
    double expected = 0;
    for (std::size_t k = 0; k < 3; ++k)
      expected += row.shares[k] * cost.relative(static_cast<int>(k));
    EXPECT_NEAR(row.relative_cost, expected, 1e-9);
    EXPECT_NEAR(std::accumulate(row.shares.begin(), row.shares.end(), 0.0), 1, 1e-9);
    const bool adaptive = row.mode == BenchmarkMode::adaptive;
    EXPECT_EQ(row.accuracy, rows[adaptive ? 0 : 2].accuracy);
    EXPECT_EQ(row.shares, rows[adaptive ? 0 : 2].shares);
    if (!adaptive) {
      EXPECT_NEAR(row.shares[2], 1, 1e-9);
    }
  }
  EXPECT_LT(rows[0].relative_cost, rows[2].relative_cost);

  const data::LoadedData loaded = data::load_data("synthetic", data::Part::test, {});
  const data::Dataset& data = loaded.dataset;
  std::vector<float> pixels(250 * 3072);
  std::vector<std::int64_t> labels;
  for (std::size_t i = 0; i < 250; ++i) {
    const auto index = static_cast<std::int64_t>(i) * data.size() / 250;
    image::normalise(data.image(index), model.preprocessing,
                     std::span(pixels).subspan(i * 3072, 3072));
    labels.push_back(data.labels[static_cast<std::size_t>(index)]);
  }
  const std::vector<float> logits = engine::OpenedModel::open(path, {"f32"})->predict_all(pixels);
  double correct = 0;
  for (std::size_t i = 0; i < 250; ++i) {
    const auto* z = logits.data() + (2 * 250 + i) * 10;
    correct += std::max_element(z, z + 10) - z == labels[i];
  }
  EXPECT_DOUBLE_EQ(rows[2].accuracy.value(), correct / 250);
  EXPECT_THAT(core::read_text(folder.path() / "test_reads.jsonl"), HasSubstr("some benchmark"));
}

TEST_F(BenchmarkOfAModel, WritesTheNetworkImagesAndLogits) {
  const fs::path kept = folder.path() / "kept", recipe = folder.path() / "recipe.toml";
  core::write_text_atomic(recipe, "[network]\nwidth = 4\nexits = [2]\nhead = \"avg\"\n");
  BenchmarkOptions how = options();
  how.model = recipe;
  how.classes = 7;
  how.batches = {1};
  how.images = 3;
  how.keep = kept;
  benchmark(how);
  const model::ModelFile back = model::load_model(kept / "model.safetensors");
  EXPECT_EQ(back.classes.size(), 7u);
  const core::Safetensors file = core::Safetensors::open(kept / "answers.safetensors");
  const auto& tensors = file.tensors();
  EXPECT_EQ(tensors.at("images").shape, (graph::Shape{3, 3, 32, 32}));
  EXPECT_EQ(tensors.at("logits").shape, (graph::Shape{2, 3, 7}));
  const core::HostTensor images = tensors.at("images").copy(), logits = tensors.at("logits").copy();
  const std::vector<float> again =
      engine::OpenedModel::open(back, {"f32"})->predict_all(images.as<float>());
  EXPECT_TRUE(std::ranges::equal(again, logits.as<float>()));
}

TEST_F(BenchmarkOfAModel, DoesNotOverwriteTheModelItTimes) {
  const std::string before = core::read_text(path);
  BenchmarkOptions how = options();
  how.images = 3;
  how.keep = folder.path();  // the folder that contains model.safetensors
  EXPECT_THAT(
      [&] { benchmark(how); },
      ThrowsMessage<UsageError>("keep: " + path.string() +
                                " is an input, so it cannot be the output; choose another file"));
  EXPECT_EQ(core::read_text(path), before);
}

TEST_F(BenchmarkOfAModel, DoesNotOverwriteAnotherModel) {
  const fs::path run = folder.path() / "run", recipe = folder.path() / "recipe.toml";
  fs::create_directory(run);
  fs::copy_file(path, run / "model.safetensors");
  core::write_text_atomic(recipe, "[network]\nwidth = 4\nexits = [2]\nhead = \"avg\"\n");
  BenchmarkOptions how = options();
  how.model = recipe;
  how.images = 3;
  how.keep = run;
  EXPECT_THAT([&] { benchmark(how); },
              ThrowsMessage<UsageError>("keep: " + run.string() +
                                        " holds a trained model, which would be overwritten; "
                                        "choose another folder"));
  EXPECT_EQ(core::read_text(run / "model.safetensors"), core::read_text(path));
}

TEST_F(BenchmarkOfAModel, RefusesInvalidOptions) {
  const auto refused = [&](auto edit, const std::string& message) {
    BenchmarkOptions how = options();
    edit(how);
    EXPECT_THAT([&] { benchmark(how); }, ThrowsMessage<Error>(HasSubstr(message)));
  };
  refused([](auto& o) { o.batches = {0}; }, "batches: expected 1 to 1024 images, got 0");
  refused([](auto& o) { o.seconds = 0; }, "seconds: expected more than 0, got 0");
  refused([](auto& o) { o.modes = {BenchmarkMode::adaptive}; }, "the model has no policy");
  EXPECT_THAT([] { benchmark_mode_from_string("lazy"); },
              ThrowsMessage<UsageError>("mode: expected plain, adaptive or exhaustive, got "
                                        "\"lazy\""));
  model.provenance.data.train = {
      data::load_data("synthetic", data::Part::test, {}).dataset.hashes[4]};
  model::save_model(path, model);
  refused([](auto& o) { o.data = "synthetic"; },
          path.string() + ": the model was trained on 1 of these");
}

}  // namespace
}  // namespace offramp::workflow
