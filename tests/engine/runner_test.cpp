#include "tests/support/runner_predictor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <tuple>

#include "core/error.h"
#include "core/random.h"
#include "graph/cost.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "policy/policy.h"
#include "runtime/activation_ranges.h"
#include "runtime/compile.h"
#include "tests/support/graphs.h"
#include "tests/support/instruction_set_cap.h"
#include "tests/support/random_graph.h"
#include "tests/support/reference.h"
#include "tests/support/relative_error.h"

namespace offramp::engine {
namespace {

[[maybe_unused]] testing::Environment* const kCap =
    testing::AddGlobalTestEnvironment(new test::InstructionSetCap);

using testing::Each;

std::shared_ptr<engine::OpenedModel> model_of(const graph::Graph& graph, std::uint64_t seed,
                                              const NetworkOptions& options) {
  return open_network(graph, graph::random_weights(graph, seed), options);
}

/// The networks that the tests run.
std::vector<graph::Graph> networks() {
  std::vector<graph::Graph> graphs = example_graphs();
  graph::NetworkSpec spec;
  spec.backbone = "resnet34";
  spec.options = {{3, 65, 47}, 13, graph::Stem::imagenet, 8};
  spec.exits = {"3", "60%"};
  spec.heads = {"conv-spp"};
  spec.spp_levels = {1, 3};
  graphs.push_back(graph::build_network(spec));
  for (std::uint64_t seed = 0; seed < 30; ++seed) graphs.push_back(random_graph(seed));
  return graphs;
}

struct Tolerance {
  runtime::Precision precision;
  // f32: about 20 layers of sums over at most 4,608 terms, each term rounded to 2^-24, errors
  // adding as their root: 20 sqrt(4608) 2^-24 ≈ 8e-5. bf16: 20 roundings of activations and weights
  // to 2^-9, adding as their root, is 1.7e-2 of a typical logit; the largest error of all logits is
  // a few times as large.
  double bound;
};

class Parity : public testing::TestWithParam<Tolerance> {};

TEST_P(Parity, LogitsOfEveryExitAgreeWithTheReference) {
  for (const graph::Graph& graph : networks()) {
    SCOPED_TRACE(graph.name);
    const auto images = graph::random_images(graph, 5, 5);
    ReferencePredictor reference(graph, graph::random_weights(graph, 11));
    const auto expected = reference.logits(images);
    for (const int batch : {1, 2, 4})
      for (const int threads : {1, 2}) {
        RunnerPredictor ours(model_of(graph, 11, {GetParam().precision, threads, batch}));
        EXPECT_LT(test::relative_error(ours.predict_all(images), expected), GetParam().bound)
            << "batch " << batch << ", " << threads << " threads";
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, Parity,
                         testing::Values(Tolerance{runtime::Precision::f32, 8e-5},
                                         Tolerance{runtime::Precision::bf16, 8e-2}));

TEST(Runner, NamesTheSameClassesInBf16AsInF32) {
  if (!runtime::has_instructions_for(runtime::Precision::bf16)) GTEST_SKIP() << "no bf16 here";
  graph::NetworkSpec spec;
  spec.options.width = 16;
  spec.exits = {"2", "4"};
  const graph::Graph graph = graph::build_network(spec);
  const int count = 400;
  const auto images = graph::random_images(graph, count, 3);
  const auto wide =
      RunnerPredictor(model_of(graph, 2, {runtime::Precision::f32})).predict_all(images);
  const auto narrow =
      RunnerPredictor(model_of(graph, 2, {runtime::Precision::bf16})).predict_all(images);
  const auto classes = static_cast<std::size_t>(graph.classes);
  int same = 0;
  for (std::size_t row = 0; row < wide.size(); row += classes)
    same += policy::argmax(std::span(wide).subspan(row, classes)) ==
            policy::argmax(std::span(narrow).subspan(row, classes));
  // Images of noise and random weights give close logits, so a few predicted classes may differ.
  EXPECT_GE(same, 0.95 * 3 * count);
}

TEST(Runner, GivesTheSameBitsHoweverImagesAreBatchedAndThreadsAreShared) {
  for (const runtime::Precision precision : {runtime::Precision::f32, runtime::Precision::bf16})
    for (const graph::Graph& graph : networks()) {
      SCOPED_TRACE(graph.name);
      const int count = 7;
      const auto images = graph::random_images(graph, count, 5);
      const auto size = images.size() / count;
      RunnerPredictor alone(model_of(graph, 11, {precision, 1, 1}));
      const auto expected = alone.predict_all(images);
      for (const int batch : {2, 4, 32})
        for (const int threads : {1, 2}) {
          RunnerPredictor other(model_of(graph, 11, {precision, threads, batch}));
          EXPECT_EQ(other.predict_all(images), expected)
              << to_string(precision) << ", batch " << batch << ", " << threads << " threads";
          // A single image runs on all threads.
          const auto one = other.predict_all(std::span(images).first(size));
          const auto classes = static_cast<std::size_t>(graph.classes);
          for (std::size_t k = 0; k * classes < one.size(); ++k)
            for (std::size_t c = 0; c < classes; ++c)
              EXPECT_EQ(one[k * classes + c], expected[k * count * classes + c]);
        }
    }
}

/// A random policy: any criterion, any ensemble, and exits without a threshold.
policy::Policy random_policy(std::uint64_t seed, int exits) {
  core::KeyedRandom random(seed, 9);
  constexpr policy::Criterion kCriteria[] = {policy::Criterion::confidence,
                                             policy::Criterion::entropy, policy::Criterion::margin,
                                             policy::Criterion::patience};
  constexpr policy::Ensemble kEnsembles[] = {policy::Ensemble::off, policy::Ensemble::mean,
                                             policy::Ensemble::geometric,
                                             policy::Ensemble::weighted};
  policy::Policy policy = policy::never_stop(exits);
  policy.criterion = kCriteria[random.below(4)];
  policy.ensemble = kEnsembles[random.below(4)];
  for (std::optional<float>& threshold : policy.thresholds) {
    const bool patient = policy.criterion == policy::Criterion::patience;
    threshold = patient ? static_cast<float>(1 + random.below(2)) : random.uniform();
    if (random.below(4) == 0) threshold.reset();
  }
  for (float& temperature : policy.temperatures) temperature = random.uniform(0.3f, 3);
  if (policy.ensemble == policy::Ensemble::weighted)
    for (int k = 0; k < exits; ++k)
      policy.ensemble_weights.push_back(random.uniform(k == 0 ? 0.1f : 0, 1));
  return policy;
}

/// The state of the policy for each image, as an application keeps it.
class PolicyStates {
 public:
  PolicyStates(const policy::Policy& policy, std::size_t images)
      : policy_(policy), exit_states_(images) {}
  bool stops(std::size_t image, int exit_index, std::span<const float> logits) {
    return policy::should_exit(policy_, exit_index, logits, exit_states_[image]);
  }

 private:
  const policy::Policy& policy_;
  std::vector<policy::ExitState> exit_states_;
};

NetworkOptions random_options(core::KeyedRandom& random, const graph::Graph& graph,
                              const core::Tensors& weights) {
  constexpr runtime::Precision kPrecisions[] = {runtime::Precision::f32, runtime::Precision::bf16,
                                                runtime::Precision::int8};
  NetworkOptions options{runtime::usable_precision(kPrecisions[random.below(3)]),
                         1 + static_cast<int>(random.below(2)),
                         1 + static_cast<int>(random.below(9))};
  if (options.precision == runtime::Precision::int8)
    options.ranges = runtime::observe_ranges(graph, weights, graph::random_images(graph, 8, 77), 1);
  return options;
}

TEST(Runner, StoppingEqualsRunningEverythingAndEqualsOneImageAtATime) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    core::KeyedRandom random(seed, 8);
    const graph::Graph graph = seed % 2 == 0 ? random_graph(seed) : example_graphs()[seed / 2 % 4];
    const core::Tensors weights = graph::random_weights(graph, seed);
    const NetworkOptions options = random_options(random, graph, weights);
    const auto count = random.below(60);
    SCOPED_TRACE(graph.name + ", seed " + std::to_string(seed) + ", " +
                 std::string(to_string(options.precision)));
    const auto model = open_network(graph, weights, options);
    RunnerPredictor adaptive(model), exhaustive(model), single(model);
    const int exits = adaptive.num_exits();
    const policy::Policy policy = random_policy(seed, exits);
    const auto images = graph::random_images(graph, static_cast<int>(count), seed);
    const auto size = static_cast<std::size_t>(core::element_count(graph.input));
    const auto all = exhaustive.predict_all(images);
    PolicyStates executed(policy, count), again(policy, count), alone(policy, count);
    const core::StoppedImages stopped =
        adaptive.predict_until(images, [&](std::int64_t image, const core::ExitOutput& output) {
          return executed.stops(static_cast<std::size_t>(image), output.exit_index, output.logits);
        });

    const graph::Cost cost = graph::cost_of(graph);
    const auto classes = static_cast<std::size_t>(graph.classes);
    std::int64_t macs = 0;
    ASSERT_EQ(stopped.exit_index.size(), count);
    for (std::size_t n = 0; n < count; ++n) {
      const auto row = [&](int exit_index) {
        return std::span(all).subspan((static_cast<std::size_t>(exit_index) * count + n) * classes,
                                      classes);
      };
      int expected = 0;
      while (expected + 1 < exits && !again.stops(n, expected, row(expected))) ++expected;
      ASSERT_EQ(stopped.exit_index[n], expected) << "image " << n;
      macs += cost.exit_macs[static_cast<std::size_t>(expected)];
      const core::StoppedImages by_itself =
          single.predict_until(std::span(images).subspan(n * size, size),
                               [&](std::int64_t, const core::ExitOutput& output) {
                                 return alone.stops(n, output.exit_index, output.logits);
                               });
      ASSERT_EQ(by_itself.exit_index[0], expected) << "image " << n;
      for (std::size_t c = 0; c < classes; ++c) {
        ASSERT_EQ(stopped.logits[n * classes + c], row(expected)[c]);
        ASSERT_EQ(by_itself.logits[c], row(expected)[c]);
      }
    }
    EXPECT_EQ(adaptive.counts().macs, macs);
    EXPECT_EQ(exhaustive.counts().macs, static_cast<std::int64_t>(count) * cost.exit_macs.back());
    EXPECT_THAT(adaptive.counts().fill, Each(testing::Ge(0.9)));
  }
}

/// A graph whose second exit uses the memory of the tensor that the first segment passes to it.
graph::Graph passed_logits_graph() {
  graph::Segment first, second, last;
  first.nodes = {{"p", graph::GlobalAvgPool{}, {"input"}},
                 {"fc", graph::Linear{.out_features = 4}, {"p"}}};
  first.outputs = {"fc"};
  second.outputs = {"fc"};
  second.feature = "fc";
  second.head = {{"halfway", graph::Relu{}, {"fc"}}};
  last.feature = "fc";
  last.head = {{"out", graph::Relu{}, {"fc"}}};
  return {"handed on", {3, 8, 8}, 4, {first, second, last}};
}

TEST(Runner, FindsLogitsThatLieInTheInputOfTheirSegment) {
  const graph::Graph graph = passed_logits_graph();
  const core::Tensors weights = graph::random_weights(graph, 6);
  const int count = 13;
  const auto images = graph::random_images(graph, count, 8);
  ReferencePredictor reference(graph, weights);
  const auto expected = reference.logits(images);
  for (const runtime::Precision precision : {runtime::Precision::f32, runtime::Precision::bf16})
    for (const int batch : {1, 4}) {
      RunnerPredictor ours(open_network(graph, weights, NetworkOptions{precision, 1, batch}));
      EXPECT_LT(test::relative_error(ours.predict_all(images), expected), 3e-2);
      // Two of three images leave at the first exit; the others fill the other buffer too.
      const core::StoppedImages stopped = ours.predict_until(
          images, [](std::int64_t image, const core::ExitOutput&) { return image % 3 != 0; });
      for (std::size_t n = 0; n < count; ++n) {
        const std::size_t exit = n % 3 == 0 ? 1 : 0;
        EXPECT_EQ(stopped.exit_index[n], static_cast<int>(exit));
        for (std::size_t c = 0; c < 4; ++c)
          EXPECT_NEAR(stopped.logits[n * 4 + c], expected[(exit * count + n) * 4 + c], 3e-2);
      }
    }
}

TEST(Runner, FillsLaterBatchesWithSurvivorsOfSeveral) {
  const graph::Graph graph = small_resnet();
  RunnerPredictor predictor(model_of(graph, 4, {runtime::Precision::f32, 1, 8}));
  const int count = 203;
  // Every third image continues after exit 1, every sixth after exit 2.
  predictor.predict_until(graph::random_images(graph, count, 8),
                          [](std::int64_t image, const core::ExitOutput& output) {
                            return image % (3 * (output.exit_index + 1)) != 0;
                          });
  const engine::RunCounts counts = predictor.counts();
  EXPECT_THAT(counts.fill, Each(1.0));
  EXPECT_EQ(counts.images, (std::vector<std::int64_t>{203, 68, 34}));
  // 203 = 25 x 8 + 3, 68 = 8 x 8 + 4, 34 = 4 x 8 + 2.
  EXPECT_EQ(counts.flushed_images, (std::vector<std::int64_t>{3, 4, 2}));
}

class Extremes : public testing::TestWithParam<std::tuple<runtime::Precision, int>> {};

TEST_P(Extremes, AllStopNoneStopsAndTheyTakeTurns) {
  const auto [precision, count] = GetParam();
  if (!runtime::has_instructions_for(precision)) GTEST_SKIP() << "no instructions for it here";
  const graph::Graph graph = small_mobilenet();
  const core::Tensors weights = graph::random_weights(graph, 3);
  const auto images = graph::random_images(graph, count, 2);
  NetworkOptions options{precision, 2, 4};
  if (precision == runtime::Precision::int8)
    options.ranges = runtime::observe_ranges(graph, weights, graph::random_images(graph, 8, 77), 1);
  RunnerPredictor predictor(open_network(graph, weights, options));
  const auto n = static_cast<std::size_t>(count);
  const auto classes = static_cast<std::size_t>(graph.classes);
  const auto all = predictor.predict_all(images);
  const auto expect_exits = [&](const core::ExitVisitor& rule, const std::vector<int>& exits) {
    const core::StoppedImages stopped = predictor.predict_until(images, rule);
    EXPECT_EQ(stopped.exit_index, exits);
    std::vector<float> logits;
    for (std::size_t i = 0; i < n; ++i) {
      const auto row =
          std::span(all).subspan((static_cast<std::size_t>(exits[i]) * n + i) * classes, classes);
      logits.insert(logits.end(), row.begin(), row.end());
    }
    EXPECT_EQ(stopped.logits, logits);
  };
  expect_exits([](auto, auto&) { return true; }, std::vector<int>(n, 0));
  expect_exits([](auto, auto&) { return false; }, std::vector<int>(n, 2));
  std::vector<int> turns(n);
  for (std::size_t i = 0; i < n; ++i) turns[i] = static_cast<int>(i % 3);
  expect_exits([](std::int64_t image,
                  const core::ExitOutput& output) { return image % 3 <= output.exit_index; },
               turns);
}

INSTANTIATE_TEST_SUITE_P(Counts, Extremes,
                         testing::Combine(testing::Values(runtime::Precision::f32,
                                                          runtime::Precision::bf16,
                                                          runtime::Precision::int8),
                                          testing::Values(0, 1, 2, 3, 4, 5, 8, 9, 33, 1000)));

TEST(Runner, AsksAboutAnImageInOrderAndNotAfterItLeft) {
  const graph::Graph graph = small_resnet();
  RunnerPredictor predictor(model_of(graph, 4, {runtime::Precision::f32, 2, 4}));
  std::map<std::int64_t, std::vector<int>> asked;
  std::mutex mutex;
  const core::StoppedImages stopped = predictor.predict_until(
      graph::random_images(graph, 21, 1), [&](std::int64_t image, const core::ExitOutput& output) {
        const std::lock_guard lock(mutex);
        EXPECT_EQ(output.logits.size(), 10u);
        EXPECT_TRUE(std::isnan(output.own_score));
        asked[image].push_back(output.exit_index);
        return image % 2 == 0;
      });
  for (const auto& [image, exits] : asked)
    EXPECT_EQ(exits, image % 2 == 0 ? std::vector<int>{0} : (std::vector<int>{0, 1, 2})) << image;
  EXPECT_EQ(asked.size(), 21u);
}

TEST(Runner, ContinuesAfterAVisitorHasThrown) {
  const graph::Graph graph = small_resnet();
  RunnerPredictor predictor(model_of(graph, 4, {runtime::Precision::f32, 2, 4}));
  const auto images = graph::random_images(graph, 30, 1);
  const auto expected = predictor.predict_all(images);
  EXPECT_THROW(predictor.predict_until(images,
                                       [](std::int64_t image, const core::ExitOutput&) -> bool {
                                         if (image == 17) throw std::runtime_error("no");
                                         return false;
                                       }),
               std::runtime_error);
  EXPECT_EQ(predictor.predict_all(images), expected);
}

TEST(Runner, RefusesImagesThatAreNotWholeAndBatchesOfNone) {
  const graph::Graph graph = small_resnet();
  EXPECT_THROW(model_of(graph, 4, {})->predict_all(std::vector<float>(100)), Error);
  EXPECT_THROW(model_of(graph, 4, {runtime::Precision::f32, 1, 0}), UsageError);
}

TEST(Runner, ServesTwoPredictorsOfOneModelAtATime) {
  const graph::Graph graph = two_scale();
  const auto model = model_of(graph, 4, {runtime::Precision::f32, 1, 4});
  const auto images = graph::random_images(graph, 9, 1);
  const auto expected = RunnerPredictor(model).predict_all(images);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&] {
      RunnerPredictor predictor(model);
      for (int round = 0; round < 20; ++round) EXPECT_EQ(predictor.predict_all(images), expected);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Runner, HasNoReferenceImplementationInAnyNetwork) {
  for (const runtime::Precision precision :
       {runtime::Precision::f32, runtime::usable_precision(runtime::Precision::bf16)})
    for (const graph::Graph& graph : networks()) {
      const auto model = model_of(graph, 1, {precision, 1, 4});
      for (const runtime::CompiledRow& row : runtime::compiled_rows(*model->batch_network()))
        EXPECT_THAT(row.implementation, testing::Not(testing::HasSubstr("ref")))
            << graph.name << ", " << row.output << ": " << row.kind;
    }
}

TEST(Runner, KeepsImagesOfABf16NetworkInBf16) {
  for (const graph::Graph& graph : example_graphs()) {
    if (!runtime::has_instructions_for(runtime::Precision::bf16)) GTEST_SKIP() << "no bf16 here";
    const auto model = model_of(graph, 1, {runtime::Precision::bf16, 1, 4});
    for (const runtime::CompiledRow& row : runtime::compiled_rows(*model->batch_network()))
      for (const runtime::Layout& src : row.srcs) {
        const core::DType wanted = src.shape.size() == 3 ? core::DType::bf16 : core::DType::f32;
        EXPECT_EQ(src.element.dtype, wanted) << row.output;
      }
  }
}

TEST(Runner, AddsShortcutsInPlaceInAResNet) {
  const auto model = model_of(small_resnet(), 1, {runtime::Precision::f32, 1, 4});
  for (const runtime::CompiledRow& row : runtime::compiled_rows(*model->batch_network()))
    EXPECT_NE(row.kind, "copy") << row.output;
}

}  // namespace
}  // namespace offramp::engine
