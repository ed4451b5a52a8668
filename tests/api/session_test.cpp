#include "offramp/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <utility>

#include "core/file.h"
#include "graph/cost.h"
#include "image/image.h"
#include "policy/binomial.h"
#include "runtime/compile.h"
#include "runtime/kernels_name.h"
#include "runtime/quantize.h"
#include "runtime/refill_batcher.h"
#include "tests/api/example_model.h"
#include "tests/support/image_files.h"
#include "tests/support/random_graph.h"
#include "tests/support/reference.h"

namespace offramp::test {
namespace {

using testing::DoubleEq;
using testing::Each;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;
using testing::SizeIs;
using testing::ThrowsMessage;

/// Makes a session whose answers have probabilities, so that answers can be compared bit by bit.
Session session_of(const Model& model, std::optional<Stop> stop = {}) {
  return Session(model, {.stop = std::move(stop), .probabilities = true});
}

void expect_same(const Answer& a, const Answer& b) {
  EXPECT_EQ(a.error, b.error);
  EXPECT_EQ(a.exit, b.exit);
  EXPECT_EQ(a.class_index, b.class_index);
  EXPECT_EQ(a.class_name, b.class_name);
  EXPECT_EQ(a.probabilities, b.probabilities);  // bit-equal
  EXPECT_EQ(a.macs, b.macs);
}

/// A model file in a temporary folder, and images for it.
class ModelOnDisk {
 public:
  explicit ModelOnDisk(const model::ModelFile& file, int images = 0) : file_(file) {
    model::save_model(path(), file);
    values_ = graph::random_images(file.graph, images, 3);
    const std::size_t size = images == 0 ? 0 : values_.size() / static_cast<std::size_t>(images);
    for (int i = 0; i < images; ++i)
      views_.push_back(ImageView::normalised(
          std::span<const float>(values_).subspan(static_cast<std::size_t>(i) * size, size)));
  }
  std::filesystem::path path() const { return folder_.path() / "model.safetensors"; }
  std::filesystem::path folder() const { return folder_.path(); }
  Model load(const Options& options = {.precision = "f32", .threads = 1, .batch = 4}) const {
    return Model::load(path(), options);
  }
  const std::vector<ImageView>& images() const { return views_; }
  const std::vector<float>& values() const { return values_; }
  const model::ModelFile& file() const { return file_; }

 private:
  model::ModelFile file_;
  core::TemporaryFolder folder_;
  std::vector<float> values_;
  std::vector<ImageView> views_;
};

model::ModelFile with_policy(const graph::Graph& graph, const policy::Policy& policy) {
  model::ModelFile file = example_model(graph);
  file.policy = policy::ChosenPolicy{policy};
  return file;
}

/// A policy under which some images of a network leave at each exit.
policy::Policy mixed_policy() {
  policy::Policy policy = policy::never_stop(3);
  policy.criterion = policy::Criterion::margin;
  policy.thresholds = {0.3f, 0.2f};
  return policy;
}

/// The answers that a policy gives for the logits [exits, images, classes] of all exits.
std::vector<Answer> replayed(const ModelOnDisk& disk, const policy::Policy& policy,
                             const std::vector<float>& logits) {
  const auto images = disk.images().size();
  const auto classes = static_cast<std::size_t>(disk.file().graph.classes);
  std::vector<Answer> answers;
  for (std::size_t n = 0; n < images; ++n) {
    policy::ExitState exit_state;
    for (int k = 0;; ++k) {
      const std::span<const float> row(
          logits.data() + (static_cast<std::size_t>(k) * images + n) * classes, classes);
      if (!policy::should_exit(policy, k, row, exit_state)) continue;
      Answer answer;
      answer.exit = k + 1;
      answer.class_index = exit_state.answer;
      answer.class_name = disk.file().classes[static_cast<std::size_t>(exit_state.answer)];
      answer.probabilities = exit_state.p;
      answer.macs = graph::cost_of(disk.file().graph).exit_macs[static_cast<std::size_t>(k)];
      answers.push_back(answer);
      break;
    }
  }
  return answers;
}

/// The logits of every exit, computed by a RefillBatcher in which no image leaves early.
std::vector<float> exhaustive_logits(const ModelOnDisk& disk,
                                     const runtime::CompileOptions& options = {}) {
  runtime::RefillBatcher stream(runtime::compile(disk.file().graph, disk.file().weights, options,
                                                 *std::make_unique<runtime::WeightStore>()));
  const auto count = static_cast<std::int64_t>(disk.images().size());
  const std::int64_t classes = disk.file().graph.classes;
  const auto size = static_cast<std::size_t>(core::element_count(disk.file().graph.input));
  std::vector<float> logits(static_cast<std::size_t>(stream.network().num_exits * count * classes));
  for (std::int64_t n = 0; n < count; ++n)
    stream.push(n, std::span(disk.values()).subspan(static_cast<std::size_t>(n) * size, size),
                [&](std::int64_t image, const core::ExitOutput& output) {
                  std::ranges::copy(output.logits,
                                    logits.begin() + (output.exit_index * count + image) * classes);
                  return false;
                });
  return logits;
}

TEST(Session, AnswersAloneInABatchAndInAStreamAsARunOfAllExitsDecidedAfterwards) {
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    core::KeyedRandom random(seed, 5);
    const graph::Graph graph = seed % 2 == 0 ? random_graph(seed) : example_graphs()[seed / 2 % 4];
    SCOPED_TRACE(graph.name + ", seed " + std::to_string(seed));
    const int exits = static_cast<int>(graph::exit_segments(graph).size());
    const ModelOnDisk disk(with_policy(graph, random_policy(seed, exits)),
                           static_cast<int>(random.below(30)));
    const auto expected = replayed(disk, disk.file().policy->policy, exhaustive_logits(disk));
    const Model model = disk.load({.precision = "f32",
                                   .threads = 1 + static_cast<int>(random.below(2)),
                                   .batch = 1 + static_cast<int>(random.below(9))});
    std::int64_t macs = 0;
    for (const Answer& answer : expected) macs += answer.macs;

    Session alone = session_of(model);
    Session batch = session_of(model);
    Session stream = session_of(model);
    for (std::size_t i = 0; i < expected.size(); ++i)
      expect_same(alone.classify(disk.images()[i]), expected[i]);
    EXPECT_EQ(alone.stats().macs, macs);

    const auto answers = batch.classify(disk.images());
    ASSERT_EQ(answers.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) expect_same(answers[i], expected[i]);
    EXPECT_EQ(batch.stats().macs, macs);

    std::vector<int> told(expected.size());
    std::int64_t last = -1;
    const bool in_order = random.flip();
    stream.stream(
        [&](std::int64_t id, const Answer& answer) {
          expect_same(answer, expected[static_cast<std::size_t>(id)]);
          ++told[static_cast<std::size_t>(id)];
          if (in_order) {
            EXPECT_EQ(id, last + 1);
          }
          last = id;
        },
        {.in_order = in_order, .most_pending = static_cast<std::int64_t>(1 + random.below(20))});
    for (std::size_t i = 0; i < expected.size(); ++i)
      stream.push(static_cast<std::int64_t>(i), disk.images()[i]);
    stream.flush();
    EXPECT_THAT(told, Each(1));
    EXPECT_EQ(stream.pending(), 0);
    EXPECT_EQ(stream.stats().macs, macs);
    EXPECT_EQ(stream.stats().exits, alone.stats().exits);
  }
}

TEST(Session, ReachesEveryExitUnderThePolicyOfTheseTests) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 60);
  Session session = session_of(disk.load());
  session.classify(disk.images());
  EXPECT_THAT(session.stats().exits, Each(testing::Gt(0)));
}

TEST(Session, ReportsTheMacsThatItSpends) {
  const ModelOnDisk disk(with_policy(small_vgg(), mixed_policy()), 20);
  const Model model = disk.load();
  Session session = session_of(model);
  std::int64_t macs = 0;
  for (const Answer& answer : session.classify(disk.images())) {
    const auto k = static_cast<std::size_t>(answer.exit - 1);
    EXPECT_EQ(answer.macs, model.macs()[k]);
    EXPECT_EQ(answer.relative_cost, model.relative_costs()[k]);
    EXPECT_EQ(answer.probability, std::ranges::max(answer.probabilities));
    EXPECT_NEAR(std::accumulate(answer.probabilities.begin(), answer.probabilities.end(), 0.0), 1,
                1e-5);
    macs += answer.macs;
  }
  const Stats stats = session.stats();
  EXPECT_EQ(stats.images, 20);
  EXPECT_EQ(stats.macs, macs);
  EXPECT_NEAR(stats.relative_cost,
              static_cast<double>(macs) / 20 /
                  static_cast<double>(graph::cost_of(disk.file().graph).plain_macs),
              1e-12);
  EXPECT_NEAR(std::accumulate(stats.shares.begin(), stats.shares.end(), 0.0), 1, 1e-12);
  session.reset_stats();
  EXPECT_EQ(session.stats().images, 0);
  EXPECT_THAT(session.stats().shares, ElementsAre(0, 0, 0));
}

TEST(Session, StopsByTheRuleItIsGiven) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 12);
  const Model model = disk.load();
  const auto exits = [&](const Stop& stop) {
    Session session = session_of(model, stop);
    std::vector<int> result;
    for (const Answer& answer : session.classify(disk.images())) result.push_back(answer.exit);
    return result;
  };
  EXPECT_THAT(exits(Stop::never()), Each(3));
  EXPECT_THAT(exits(Stop::at_threshold(0)), Each(1));
  EXPECT_THAT(exits(Stop::at_threshold(1)), Each(3));
  const auto by_policy = exits(Stop::by_policy());
  EXPECT_NE(by_policy, std::vector<int>(12, 3));
  const auto& macs = model.macs();
  EXPECT_THAT(exits(Stop::within_macs(macs[2])), Each(3));
  EXPECT_THAT(exits(Stop::within_macs(macs[2] - 1)), Each(2));
  EXPECT_THAT(exits(Stop::within_macs(macs[1] - 1)), Each(1));
  EXPECT_THAT(exits(Stop::within_macs(1)), Each(1));  // every image reaches exit 1
  const auto both = exits(Stop::by_policy().and_within_macs(macs[1]));
  for (std::size_t i = 0; i < both.size(); ++i) EXPECT_EQ(both[i], std::min(by_policy[i], 2));
}

TEST(Session, AnswersHoweverShortTheDeadline) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 5);
  const Model model = disk.load();
  Session hurried = session_of(model, Stop::within(1e-6));
  Session calm = session_of(model, Stop::within(1e6));
  Session sure = session_of(model, Stop::by_policy().and_within(1e6));
  Session plain = session_of(model);
  for (const Answer& answer : hurried.classify(disk.images())) EXPECT_EQ(answer.exit, 1);
  for (const Answer& answer : calm.classify(disk.images())) EXPECT_EQ(answer.exit, 3);
  for (const ImageView& image : disk.images())
    expect_same(sure.classify(image), plain.classify(image));
  int answered = 0;
  hurried.stream([&](std::int64_t id, const Answer& answer) {
    EXPECT_EQ(id, answered++);
    EXPECT_EQ(answer.exit, 1);
  });
  for (int i = 0; i < 5; ++i) {
    hurried.push(i, disk.images()[static_cast<std::size_t>(i)]);
    EXPECT_EQ(answered, i + 1);  // an image with a deadline does not wait
  }
}

TEST(Session, RefusesInvalidRules) {
  const ModelOnDisk disk(example_model(small_resnet()));
  const Model model = disk.load();
  const auto expect_refused = [&](const auto& make, const std::string& message) {
    EXPECT_THAT([&] { Session(model, make()); }, ThrowsMessage<UsageError>(message));
  };
  expect_refused([] { return Stop::by_policy(); },
                 "the model has no policy: calibrate it, or stop by another rule");
  expect_refused([] { return Stop::at_threshold(1.5f); },
                 "threshold: expected a score from 0 to 1, got 1.5");
  expect_refused([] { return Stop::within(0); }, "deadline: expected milliseconds above 0, got 0");
  expect_refused([] { return Stop::never().and_within_macs(-1); },
                 "budget: expected multiply-accumulates above 0, got -1");
  policy::Policy counting = policy::never_stop(3);
  counting.criterion = policy::Criterion::patience;
  const ModelOnDisk patient(with_policy(small_resnet(), counting));
  EXPECT_THROW(Session(patient.load(), Stop::at_threshold(0.5f)), UsageError);
}

TEST(Session, TakesPixelsBytesFilesAndValuesAlike) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()));
  const Model model = disk.load();
  Session session = session_of(model);
  const image::Image image = patterned_image(50, 41, 3);
  const auto png = image::encode_png(image);
  write_bytes(disk.folder() / "image.png", png);
  std::vector<float> values(3 * 32 * 32);
  image::to_input(image, disk.file().preprocessing, values);
  const Answer expected = session.classify(ImageView::normalised(values));
  expect_same(session.classify(ImageView::rgb8(image.rgb, 50, 41)), expected);
  expect_same(session.classify(ImageView::encoded(png)), expected);
  expect_same(session.classify(ImageView::file(disk.folder() / "image.png")), expected);
  const image::Image small = patterned_image(32, 32, 4);
  image::to_input(small, disk.file().preprocessing, values);
  expect_same(session.classify(ImageView::rgb8(small.rgb, 32, 32)),
              session.classify(ImageView::normalised(values)));
}

TEST(Session, RefusesBytesThatAreNoImage) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 1);
  Session session = session_of(disk.load());
  const std::vector<std::uint8_t> pixels(30);
  const auto expect_refused = [&](const ImageView& image, const std::string& message) {
    EXPECT_THAT([&] { session.classify(image); }, ThrowsMessage<Error>(HasSubstr(message)));
  };
  expect_refused(ImageView::rgb8(pixels, 5, 3), "image: 30 bytes of pixels, but 5x3 takes 45");
  expect_refused(ImageView::rgb8(pixels, -5, -2),
                 "image: expected sides of 1 to 65535 pixels, got -5x-2");
  expect_refused(ImageView::rgb8(pixels, 0, 0), "got 0x0");
  expect_refused(ImageView::normalised(disk.values()).normalised({}),
                 "image: 0 values, but the network takes [3,32,32]");
  expect_refused(ImageView::encoded({}), "not a JPEG, PNG, WebP or BMP");
  expect_refused(ImageView::file(disk.folder() / "none.png"), "none.png: cannot open");
  expect_refused(ImageView::file(disk.path()), "model.safetensors: not a JPEG, PNG, WebP or BMP");
  EXPECT_EQ(session.stats().images, 0);
  EXPECT_EQ(session.classify(disk.images()[0]).error, "");

  const ModelOnDisk gray(example_model(small_mobilenet()), 1);
  Session one_channel = session_of(gray.load());
  EXPECT_THAT([&] { one_channel.classify(ImageView::rgb8(pixels, 5, 2)); },
              ThrowsMessage<Error>("image: the network takes 1 channels, not red, green and blue"));
  EXPECT_TRUE(one_channel.classify(gray.images()[0]).ok());
}

TEST(Session, AnswersABadImageOfABatchWithItsError) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 9);
  const Model model = disk.load();
  Session session = session_of(model);
  Session other = session_of(model);
  std::vector<ImageView> images = disk.images();
  const std::vector<float> short_one(7);
  images[4] = ImageView::normalised(short_one);
  const auto answers = session.classify(images);
  const auto expected = other.classify(disk.images());
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (i != 4) expect_same(answers[i], expected[i]);
  }
  EXPECT_THAT(answers[4].error, HasSubstr("7 values"));
  EXPECT_EQ(session.stats().images, 8);

  std::vector<std::int64_t> refused;
  other.stream(
      [&](std::int64_t id, const Answer& answer) {
        if (!answer.ok()) refused.push_back(id);
      },
      {.in_order = true});
  for (std::size_t i = 0; i < images.size(); ++i)
    other.push(static_cast<std::int64_t>(i), images[i]);
  other.flush();
  EXPECT_THAT(refused, ElementsAre(4));
}

TEST(Session, RefusesValuesThatAreNotFinite) {
  const ModelOnDisk disk(example_model(small_resnet()), 2);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(disk.values().begin(), disk.values().begin() + 3 * 32 * 32);
    values[17] = bad;
    Session session = session_of(disk.load());
    EXPECT_THAT([&] { session.classify(ImageView::normalised(values)); },
                ThrowsMessage<Error>("image: a value is not finite"));
    const auto answers =
        session.classify(std::vector{ImageView::normalised(values), disk.images()[1]});
    EXPECT_EQ(answers[0].error, "image: a value is not finite");
    EXPECT_TRUE(answers[1].ok());
    EXPECT_EQ(session.stats().images, 1);
  }
}

// The largest finite number is a valid input, but the network's sums overflow to infinity.
TEST(Session, AnswersWithAnErrorWhereTheNetworkOverflows) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 9);
  const std::vector<float> huge(3 * 32 * 32, std::numeric_limits<float>::max());
  const std::string error = "the network's logits for this image are not finite";
  std::vector<ImageView> images = disk.images();
  images.insert(images.begin() + 4, ImageView::normalised(huge));
  Session session = session_of(disk.load());
  Session timed = session_of(disk.load(), Stop::within(1e6));
  Session other = session_of(disk.load());
  EXPECT_THAT([&] { session.classify(images[4]); }, ThrowsMessage<Error>(error));
  const auto expected = other.classify(disk.images());
  const auto answers = session.classify(images);
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (i == 4)
      EXPECT_EQ(answers[i].error, error);
    else
      expect_same(answers[i], expected[i < 4 ? i : i - 1]);
  }
  EXPECT_EQ(session.stats().images, 9);
  EXPECT_EQ(timed.classify(images)[4].error, error);
  std::vector<std::string> errors(images.size());
  session.stream([&](std::int64_t id, const Answer& answer) {
    errors[static_cast<std::size_t>(id)] = answer.error;
  });
  for (std::size_t i = 0; i < images.size(); ++i)
    session.push(static_cast<std::int64_t>(i), images[i]);
  session.flush();
  for (std::size_t i = 0; i < images.size(); ++i) EXPECT_EQ(errors[i], i == 4 ? error : "");
}

TEST(Session, KeepsTemperaturesAndEnsembleUnderEveryRule) {
  policy::Policy policy = policy::never_stop(3);
  policy.temperatures = {0.5f, 2, 3};
  policy.ensemble = policy::Ensemble::mean;
  const ModelOnDisk as_fitted(with_policy(small_resnet(), policy), 3);
  policy.thresholds = {0.0f, 0.0f};
  const ModelOnDisk stops(with_policy(small_resnet(), policy), 3);
  Session fitted = session_of(as_fitted.load());
  for (const Stop& stop : {Stop::never(), Stop::within(1e6), Stop::within_macs(1'000'000'000)}) {
    Session session = session_of(stops.load(), stop);
    for (const ImageView& image : stops.images()) {
      const Answer answer = session.classify(image);
      EXPECT_EQ(answer.exit, 3);
      expect_same(answer, fitted.classify(image));
    }
  }
}

TEST(Session, AcceptsAnEmptyBatch) {
  const ModelOnDisk disk(example_model(small_resnet()));
  Session session = session_of(disk.load());
  EXPECT_THAT(session.classify(std::span<const ImageView>{}), IsEmpty());
}

// Tests of streams, with batches of 4 and networks of 3 segments. If all images leave at exit 3, at
// most 3 images wait, all at the first segment.

TEST(SessionStream, DeliversAnswersAsTheyFinishOrInOrder) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 60);
  const Model model = disk.load();
  std::vector<std::vector<std::int64_t>> orders;
  for (const bool in_order : {false, true}) {
    Session session = session_of(model);
    std::vector<std::int64_t>& order = orders.emplace_back();
    session.stream([&](std::int64_t id, const Answer&) { order.push_back(id); },
                   {.in_order = in_order});
    for (std::int64_t i = 0; i < 60; ++i)
      session.push(i, disk.images()[static_cast<std::size_t>(i)]);
    session.flush();
    EXPECT_THAT(order, SizeIs(60));
  }
  EXPECT_FALSE(std::ranges::is_sorted(orders[0]));
  EXPECT_TRUE(std::ranges::is_sorted(orders[1]));
}

TEST(SessionStream, KeepsPendingImagesBelowTheLimit) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 60);
  for (const bool in_order : {false, true}) {
    Session session = session_of(disk.load());
    std::int64_t answered = 0;
    session.stream([&](std::int64_t, const Answer&) { ++answered; },
                   {.in_order = in_order, .most_pending = 5});
    for (std::int64_t i = 0; i < 60; ++i) {
      session.push(i, disk.images()[static_cast<std::size_t>(i)]);
      EXPECT_LT(session.pending(), 5);
      EXPECT_EQ(session.pending() + answered, i + 1);
    }
  }
}

TEST(SessionStream, FlushesAnImageThatHasWaitedTooLong) {
  const ModelOnDisk disk(example_model(small_resnet()), 2);
  Session session = session_of(disk.load(), Stop::never());
  int answered = 0;
  session.stream([&](std::int64_t, const Answer&) { ++answered; }, {.flush_after_ms = 1});
  session.push(0, disk.images()[0]);
  while (answered == 0) session.poll();  // polls in the first millisecond do nothing
  EXPECT_EQ(session.pending(), 0);

  Session patient = session_of(disk.load(), Stop::never());
  patient.stream([&](std::int64_t, const Answer&) { ++answered; });
  patient.push(0, disk.images()[0]);
  EXPECT_EQ(patient.next_due(), std::nullopt);
  patient.poll();
  EXPECT_EQ(patient.pending(), 1);
}

/// Waits until an image has waited too long. It does not poll the session.
void wait_until_due(const Session& session) {
  for (;;) {
    const auto due = session.next_due();
    if (!due || *due <= std::chrono::steady_clock::now()) return;
  }
}

TEST(SessionStream, KeepsTheOrderWhereImagesHaveWaitedTooLong) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 30);
  Session session = session_of(disk.load({.precision = "f32", .threads = 1, .batch = 16}));
  std::vector<std::int64_t> told;
  session.stream([&](std::int64_t id, const Answer&) { told.push_back(id); },
                 {.in_order = true, .flush_after_ms = 1});
  for (std::int64_t i = 0; i < 30; ++i) {
    session.push(i, disk.images()[static_cast<std::size_t>(i)]);
    if (i % 7 == 6) wait_until_due(session);
  }
  while (session.pending() > 0) session.poll();
  std::vector<std::int64_t> in_order(30);
  std::iota(in_order.begin(), in_order.end(), 0);
  EXPECT_EQ(told, in_order);
}

TEST(SessionStream, ContinuesAfterTheCallbackHasThrown) {
  const ModelOnDisk disk(example_model(small_resnet()), 8);
  Session session = session_of(disk.load(), Stop::never());
  std::vector<std::int64_t> told;
  session.stream([&](std::int64_t id, const Answer&) {
    told.push_back(id);
    if (id == 1) throw std::runtime_error("enough");
  });
  for (std::int64_t i = 0; i < 3; ++i) session.push(i, disk.images()[static_cast<std::size_t>(i)]);
  EXPECT_THROW(session.push(3, disk.images()[3]), std::runtime_error);
  session.poll();
  EXPECT_THAT(told, ElementsAre(0, 1, 2, 3));
}

TEST(SessionStream, MayBeMixedWithImagesAloneAndBatches) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 20);
  const Model model = disk.load();
  Session session = session_of(model);
  Session other = session_of(model);
  const auto expected = other.classify(disk.images());
  std::vector<std::int64_t> told;
  session.stream([&](std::int64_t id, const Answer& answer) {
    told.push_back(id);
    expect_same(answer, expected[static_cast<std::size_t>(id)]);
  });
  session.push(0, disk.images()[0]);
  expect_same(session.classify(disk.images()[1]), expected[1]);
  session.push(2, disk.images()[2]);
  const auto batch = session.classify(std::span(disk.images()).subspan(3));
  for (std::size_t i = 0; i < batch.size(); ++i) expect_same(batch[i], expected[3 + i]);
  session.flush();
  std::ranges::sort(told);
  EXPECT_THAT(told, ElementsAre(0, 2));
}

TEST(SessionStream, DeliversAnswersAtOnceFromTheThreadThatComputedThem) {
  ModelOnDisk disk(example_model(small_resnet()), 2);
  Session session(disk.load({.precision = "f32", .threads = 1, .batch = 2}));
  // Both are in one batch. The answer of the first image cancels the second, which is decided after
  // it: only an answer that is delivered at once comes early enough for that.
  const Cancellation second;
  std::vector<Answer> answers(2);
  session.stream(
      [&](std::int64_t id, const Answer& answer) {
        answers[static_cast<std::size_t>(id)] = answer;
        second.cancel();
      },
      {.from_any_thread = true});
  session.push(0, disk.images()[0], {.stop = Stop::at_threshold(0)});
  session.push(1, disk.images()[1], {.stop = Stop::never(), .cancellation = second});
  session.flush();
  EXPECT_EQ(answers[0].exit, 1);
  EXPECT_TRUE(answers[1].cancelled);
  EXPECT_EQ(session.pending(), 0);
}

TEST(SessionStream, GivesTheSameAnswersFromAnyThread) {
  ModelOnDisk disk(example_model(small_resnet()), 40);
  const Model model = disk.load({.precision = "f32", .threads = 3, .batch = 4});
  Session one = session_of(model, Stop::at_threshold(0.5f));
  Session session = session_of(model, Stop::at_threshold(0.5f));
  std::mutex mutex;
  std::vector<Answer> answers(40);
  session.stream(
      [&](std::int64_t id, const Answer& answer) {
        const std::lock_guard lock(mutex);
        answers[static_cast<std::size_t>(id)] = answer;
      },
      {.from_any_thread = true});
  for (int round = 0; round < 3; ++round) {
    std::ranges::fill(answers, Answer{});
    for (std::size_t i = 0; i < 40; ++i)
      session.push(static_cast<std::int64_t>(i), disk.images()[i]);
    session.flush();
    for (std::size_t i = 0; i < 40; ++i) expect_same(answers[i], one.classify(disk.images()[i]));
  }
}

TEST(SessionStream, ReadsImagesThatStayWithoutACopy) {
  ModelOnDisk disk(example_model(small_resnet()));
  Session session(disk.load({.precision = "f32", .threads = 2, .batch = 4}));
  std::vector<std::byte> file = image::encode_png(test::flat_image(20, 20, 10, 200, 30));
  std::vector<std::string> errors;
  const auto on_answer = [&](std::int64_t, const Answer& answer) {
    errors.push_back(answer.error);
  };
  // The image is read after push() has returned: a change of its bytes is seen, or not.
  for (const bool stays : {false, true}) {
    session.stream(on_answer, {.images_stay = stays});
    session.push(0, ImageView::encoded(file));
    file[0] = std::byte{'x'};
    session.flush();
    file[0] = std::byte{0x89};
  }
  EXPECT_THAT(errors, ElementsAre("", HasSubstr("not a JPEG")));
}

TEST(Session, RefusesImagesLargerThanItsOwnLimit) {
  ModelOnDisk disk(example_model(small_resnet()));
  Session session(disk.load(), SessionOptions{.max_pixels = 400});
  const auto classify = [&](int side) {
    session.classify(
        ImageView::encoded(image::encode_png(test::flat_image(side, side, 10, 200, 30))));
  };
  EXPECT_NO_THROW(classify(20));
  EXPECT_THAT([&] { classify(21); },
              ThrowsMessage<Error>(HasSubstr("larger than the limit: 21x21, at most 400 pixels")));
  const std::vector<std::uint8_t> pixels(21 * 21 * 3);
  EXPECT_THAT([&] { session.classify(ImageView::rgb8(pixels, 21, 21)); },
              ThrowsMessage<Error>(HasSubstr("larger than the limit")));
  EXPECT_THROW(Session(disk.load(), SessionOptions{.max_pixels = 0}), UsageError);
}

TEST(Session, StopsAtACertifiedStep) {
  model::ModelFile file = with_policy(small_resnet(), mixed_policy());
  file.policy->policy.thresholds = {0.f, 0.f};
  file.policy->guarantee = policy::Guarantee{.epsilon = 0.1,
                                             .delta = 0.05,
                                             .level = 0.05,
                                             .images = 1000,
                                             .counted = 10,
                                             .upper_bound = 0.017,
                                             .precision = "f32",
                                             .kernels = "elsewhere"};
  file.policy->path = policy::CertifiedPath{
      .steps = {{.thresholds = {std::nullopt, 0.f}}, {.thresholds = {0.f, 0.f}, .counted = 10}},
      .chosen = 1};
  const ModelOnDisk disk(file, 1);
  const Model model = disk.load();
  EXPECT_EQ(model.chosen_step(), 1);
  EXPECT_EQ(model.criterion(), "margin");
  ASSERT_THAT(model.policy_path(), SizeIs(2));
  EXPECT_TRUE(model.policy_path()[1].certified);
  EXPECT_EQ(session_of(model, Stop::at_step(0)).classify(disk.images()[0]).exit, 2);
  EXPECT_EQ(session_of(model, Stop::at_step(1)).classify(disk.images()[0]).exit, 1);
  EXPECT_THAT([&] { session_of(model, Stop::at_step(2)); },
              ThrowsMessage<UsageError>("step: got 2, expected a certified step, 0 to 1"));
  EXPECT_THROW(Stop::at_step(-1), UsageError);
  const ModelOnDisk plain(example_model(small_resnet()));
  EXPECT_THAT([&] { session_of(plain.load(), Stop::at_step(0)); },
              ThrowsMessage<UsageError>(HasSubstr("no path")));
  EXPECT_THAT(plain.load().policy_path(), IsEmpty());
}

TEST(Session, BoundsOnlyTheChosenStepOfCodeThatIsOnlyVerified) {
  model::ModelFile file = with_policy(small_resnet(), mixed_policy());
  file.policy->policy.thresholds = {0.f, 0.f};
  file.policy->guarantee =
      policy::Guarantee{"harm", 0.1, 0.05, 0.04, 1000, 10, 0.017, "f32", runtime::kernels_name()};
  const double bound = policy::clopper_pearson_upper(20, 1000, 1e-3);
  file.policy->guarantee->disagreement = policy::DisagreementBound{1e-3, 20, bound};
  file.policy->path = policy::CertifiedPath{
      .steps = {{.thresholds = {std::nullopt, 0.f}, .disagreed = 20},
                {.thresholds = {0.f, 0.f}, .counted = 10, .disagreed = 20},
                {.thresholds = {-1.f, 0.f}, .counted = 200, .disagreed = 300}},
      .chosen = 1};
  const auto bounds = [&] {
    const ModelOnDisk disk(file, 1);
    std::vector<std::optional<double>> found;
    for (const PolicyStep& step : disk.load().policy_path()) found.push_back(step.disagreement);
    return found;
  };
  EXPECT_THAT(bounds(), ElementsAre(Optional(DoubleEq(bound)), Optional(DoubleEq(bound)),
                                    std::optional<double>()));
  file.policy->guarantee->kernels = "elsewhere";
  file.policy->verified = {{"f32", runtime::kernels_name(), 1000, 0, 0.01, 0.0046}};
  EXPECT_THAT(bounds(), ElementsAre(std::optional<double>(), Optional(DoubleEq(bound + 0.0046)),
                                    std::optional<double>()));
}

TEST(SessionStream, RefusesInvalidOptions) {
  const ModelOnDisk disk(example_model(small_resnet()), 1);
  Session session = session_of(disk.load());
  const auto nobody = [](std::int64_t, const Answer&) {};
  EXPECT_THAT([&] { session.push(0, disk.images()[0]); },
              ThrowsMessage<UsageError>("push: no stream was begun; call stream() first"));
  EXPECT_THROW(session.stream({}), UsageError);
  EXPECT_THROW(session.stream(nobody, {.flush_after_ms = -1}), UsageError);
  EXPECT_THROW(session.stream(nobody, {.most_pending = 0}), UsageError);
  EXPECT_THROW(session.stream(nobody, {.in_order = true, .from_any_thread = true}), UsageError);
  session.stream(nobody);
  session.push(0, disk.images()[0]);
  EXPECT_THAT([&] { session.stream(nobody); },
              ThrowsMessage<UsageError>("stream: 1 images have no answer yet; call flush() first"));
}

TEST(Session, DetectsThatImagesLeaveAtOtherExitsThanAtCalibration) {
  model::ModelFile file = with_policy(small_resnet(), mixed_policy());
  const ModelOnDisk unknown(file, 60);
  Session first = session_of(unknown.load());
  for (int round = 0; round < 5; ++round) first.classify(unknown.images());
  EXPECT_EQ(first.stats().drift, DriftFlag::unknown);
  const auto shares = first.stats().shares;

  file.policy->seen = policy::TuneExitShares{1000, shares};
  const ModelOnDisk same(file, 60);
  Session as_before = session_of(same.load());
  as_before.classify(same.images());
  EXPECT_EQ(as_before.stats().drift, DriftFlag::unknown);  // there are fewer than 200 images
  for (int round = 0; round < 4; ++round) as_before.classify(same.images());
  EXPECT_EQ(as_before.stats().drift, DriftFlag::none);
  EXPECT_EQ(as_before.stats().calibrated_shares, shares);
  EXPECT_EQ(as_before.stats().calibrated_images, 1000);
  Session other_rule = session_of(same.load(), Stop::by_policy().and_within_macs(1));
  for (int round = 0; round < 5; ++round) other_rule.classify(same.images());
  EXPECT_EQ(other_rule.stats().drift, DriftFlag::unknown);

  file.policy->seen =
      policy::TuneExitShares{1000, {shares[2] / 2, shares[1], shares[0] + shares[2] / 2}};
  const ModelOnDisk changed(file, 60);
  Session drifted = session_of(changed.load());
  for (int round = 0; round < 5; ++round) drifted.classify(changed.images());
  EXPECT_EQ(drifted.stats().drift, DriftFlag::drifted);
  EXPECT_GT(drifted.stats().drift_distance, 0.05);
  EXPECT_LT(drifted.stats().drift_p_value, 1e-4);
}

TEST(Session, StopsEachImageByItsOwnRule) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 30);
  for (const int threads : {1, 2}) {
    const Model model = disk.load({.precision = "f32", .threads = threads, .batch = 4});
    Session by_policy = session_of(model);
    const auto expected = by_policy.classify(disk.images());
    Session session = session_of(model);
    std::vector<ImageOptions> options(30);
    for (std::size_t i = 0; i < 30; ++i) {
      if (i % 3 == 1) options[i].stop = Stop::at_threshold(0);
      if (i % 3 == 2) options[i].stop = Stop::within_macs(model.macs()[1]);
    }
    const auto check = [&](std::size_t i, const Answer& answer) {
      if (i % 3 == 0) expect_same(answer, expected[i]);
      if (i % 3 == 1) {
        EXPECT_EQ(answer.exit, 1);
      }
      if (i % 3 == 2) {
        EXPECT_EQ(answer.exit, 2);
      }
      EXPECT_EQ(answer.limited, i % 3 == 2);
    };
    const auto batch = session.classify(disk.images(), options);
    for (std::size_t i = 0; i < 30; ++i) check(i, batch[i]);
    for (std::size_t i = 0; i < 30; ++i) check(i, session.classify(disk.images()[i], options[i]));
    int told = 0;
    session.stream([&](std::int64_t id, const Answer& answer) {
      check(static_cast<std::size_t>(id), answer);
      ++told;
    });
    for (std::size_t i = 0; i < 30; ++i)
      session.push(static_cast<std::int64_t>(i), disk.images()[i], options[i]);
    session.flush();
    EXPECT_EQ(told, 30);
    EXPECT_THAT(
        [&] { session.classify(disk.images(), std::vector<ImageOptions>(7)); },
        ThrowsMessage<UsageError>("classify: 7 options for 30 images: expected one each, or none"));
  }
}

TEST(SessionStream, RefusesAnImageWithInvalidOptionsAndLosesNoOther) {
  const ModelOnDisk disk(example_model(small_resnet()), 12);  // the model has no policy
  for (const int threads : {1, 2}) {
    const Model model = disk.load({.precision = "f32", .threads = threads, .batch = 8});
    Session session = session_of(model);
    Session other = session_of(model);
    const auto expected = other.classify(disk.images());
    std::vector<std::int64_t> told;
    session.stream([&](std::int64_t id, const Answer& answer) {
      told.push_back(id);
      expect_same(answer, expected[static_cast<std::size_t>(id)]);
    });
    session.push(0, disk.images()[0]);
    EXPECT_THROW(session.push(1, disk.images()[1], {.stop = Stop::by_policy()}), UsageError);
    session.push(2, disk.images()[2]);
    std::vector<ImageOptions> options(2);
    options[1].stop = Stop::by_policy();
    EXPECT_THROW(session.classify(std::span(disk.images()).first(2), options), UsageError);
    session.flush();
    EXPECT_THAT(told, testing::UnorderedElementsAre(0, 2));
  }
}

TEST(SessionStream, AnswersNoImageWithThePixelsOfOneThatWasLost) {
  // The test needs any exception while images are waiting; here on_ready throws, against its rule.
  const ModelOnDisk disk(example_model(small_resnet()), 12);
  const Model model = disk.load({.precision = "f32", .threads = 1, .batch = 8});
  Session session = session_of(model);
  Session other = session_of(model);
  const auto expected = other.classify(disk.images());
  int refused = 0;
  session.stream([&](std::int64_t, const Answer& answer) { refused += !answer.ok(); },
                 {.on_ready = [] { throw std::runtime_error("on_ready must not throw"); }});
  for (std::int64_t i = 0; i < 7; ++i) session.push(i, disk.images()[static_cast<std::size_t>(i)]);
  EXPECT_THROW(session.push(7, disk.images()[7]), std::runtime_error);
  session.poll();
  EXPECT_GT(refused, 0);
  const auto answers = session.classify(disk.images());
  for (std::size_t i = 0; i < answers.size(); ++i) expect_same(answers[i], expected[i]);
}

TEST(Session, CountsForDriftOnlyImagesThatThePolicyStops) {
  model::ModelFile file = with_policy(small_resnet(), mixed_policy());
  const ModelOnDisk unknown(file, 60);
  Session first = session_of(unknown.load());
  first.classify(unknown.images());
  file.policy->seen = policy::TuneExitShares{1000, first.stats().shares};
  const ModelOnDisk same(file, 60);
  Session session = session_of(same.load());
  std::vector<ImageOptions> to_the_end(60, ImageOptions{.stop = Stop::never()});
  for (int round = 0; round < 10; ++round) {
    session.classify(same.images());
    session.classify(same.images(), to_the_end);
  }
  EXPECT_EQ(session.stats().images, 1200);
  EXPECT_EQ(session.stats().drift, DriftFlag::none);
}

TEST(Session, StopsByAScoreOfItsOwn) {
  policy::Policy policy = mixed_policy();
  policy.temperatures = {5, 5, 5};
  const ModelOnDisk disk(with_policy(small_resnet(), policy), 40);
  const Model model = disk.load();
  policy::Policy expected = policy::never_stop(3);
  expected.criterion = policy::Criterion::entropy;
  expected.thresholds = {0.1f, 0.1f};
  const auto answers = replayed(disk, expected, exhaustive_logits(disk));
  Session session = session_of(model, Stop::at_score("entropy", 0.1f));
  const auto ours = session.classify(disk.images());
  for (std::size_t i = 0; i < answers.size(); ++i) expect_same(ours[i], answers[i]);
  EXPECT_THROW(Stop::at_score("entropi", 0.1f), UsageError);
  EXPECT_THROW(Stop::at_score("margin", 2), UsageError);
  EXPECT_THROW(Stop::at_score("patience", 0.5f), UsageError);
  EXPECT_THROW(Stop::at_score("patience", std::numeric_limits<float>::infinity()), UsageError);
  Stop::at_score("patience", 2);
}

TEST(Session, DropsImagesThatAreCancelled) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 20);
  for (const int threads : {1, 2}) {
    const Model model = disk.load({.precision = "f32", .threads = threads, .batch = 4});
    Session session = session_of(model);
    ImageOptions with_cancellation;
    with_cancellation.cancellation.emplace();
    std::vector<ImageOptions> options(20);
    for (std::size_t i = 0; i < 20; i += 4) options[i] = with_cancellation;
    with_cancellation.cancellation->cancel();
    const auto answers = session.classify(disk.images(), options);
    for (std::size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(answers[i].cancelled, i % 4 == 0) << i;
      EXPECT_EQ(answers[i].error, i % 4 == 0 ? "the image was cancelled" : "");
    }
    EXPECT_THAT([&] { session.classify(disk.images()[0], with_cancellation); },
                ThrowsMessage<Error>("the image was cancelled"));
    EXPECT_EQ(session.stats().images, 15);

    // An image that is cancelled while it waits is answered when its segment runs.
    ImageOptions waits;
    waits.cancellation.emplace();
    std::vector<std::int64_t> cancelled;
    session.stream([&](std::int64_t id, const Answer& answer) {
      if (answer.cancelled) cancelled.push_back(id);
    });
    session.push(0, disk.images()[0], waits);
    session.push(1, disk.images()[1]);
    waits.cancellation->cancel();
    session.flush();
    EXPECT_THAT(cancelled, ElementsAre(0));
  }
}

TEST(Session, GivesTheLogitsOfEveryExit) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 13);
  const auto expected = exhaustive_logits(disk);
  Session session = session_of(disk.load({.precision = "f32", .threads = 2, .batch = 4}));
  EXPECT_EQ(session.all_exits(disk.images()), expected);
  EXPECT_EQ(session.stats().images, 0);
  EXPECT_THAT(session.all_exits({}), IsEmpty());
  const std::vector<float> short_one(7);
  std::vector<ImageView> images = disk.images();
  images[5] = ImageView::normalised(short_one);
  EXPECT_THAT([&] { session.all_exits(images); },
              ThrowsMessage<Error>(HasSubstr("image 5: image: 7 values")));
}

TEST(SessionStream, SaysWhenItIsToBePolled) {
  const ModelOnDisk disk(example_model(small_resnet()), 4);
  for (const int threads : {1, 2}) {
    Session session =
        session_of(disk.load({.precision = "f32", .threads = threads, .batch = 4}), Stop::never());
    EXPECT_EQ(session.next_due(), std::nullopt);
    int told = 0;
    session.stream([&](std::int64_t, const Answer&) { ++told; }, {.flush_after_ms = 3});
    EXPECT_EQ(session.next_due(), std::nullopt);
    session.push(0, disk.images()[0]);
    while (told == 0) {
      const auto due = session.next_due();
      ASSERT_TRUE(due.has_value());
      std::this_thread::sleep_until(*due + std::chrono::microseconds(1));
      session.poll();
    }
    EXPECT_EQ(session.next_due(), std::nullopt);
  }
}

TEST(SessionStream, AnswersAWaitingImageByItsDeadline) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 12);
  for (const int threads : {1, 2}) {
    const Model model = disk.load({.precision = "f32", .threads = threads, .batch = 8});
    Session session = session_of(model, Stop::never());
    std::vector<int> exits(12);
    session.stream([&](std::int64_t id, const Answer& answer) {
      exits[static_cast<std::size_t>(id)] = answer.exit;
    });
    // No other image fills its batch: without a deadline it would wait until flush().
    session.push(3, disk.images()[3], {.stop = Stop::within(200)});
    while (session.pending() > 0) {
      const auto due = session.next_due();
      ASSERT_TRUE(due.has_value());
      std::this_thread::sleep_until(*due);
      session.poll();
    }
    EXPECT_GE(exits[3], 1);  // it is 3 unless the machine is too slow for the deadline

    // A flush runs images with a deadline that wait at a later segment.
    for (std::int64_t i = 4; i < 12; ++i)
      session.push(i, disk.images()[static_cast<std::size_t>(i)],
                   {.stop = i % 4 == 0 ? Stop::within(1e6) : Stop::at_threshold(0)});
    session.flush();
    for (std::size_t i = 4; i < 12; ++i) EXPECT_EQ(exits[i], i % 4 == 0 ? 3 : 1) << i;
    EXPECT_EQ(session.pending(), 0);
  }
}

TEST(SessionStream, RunsAnImageAtOnceWhereItsDeadlineLeavesNoTimeToWaitForOthers) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 1);
  // A full batch of 1,024 images takes longer than 5 ms on any CPU.
  Session session =
      session_of(disk.load({.precision = "f32", .threads = 1, .batch = 1024}), Stop::never());
  session.stream([](std::int64_t, const Answer&) {});
  session.push(0, disk.images()[0]);
  EXPECT_EQ(session.pending(), 1);
  session.push(1, disk.images()[0], {.stop = Stop::within(5)});
  EXPECT_EQ(session.pending(), 0);
}

TEST(SessionStream, CallsOnReadyWhenAnAnswerIsReady) {
  const ModelOnDisk disk(with_policy(small_resnet(), mixed_policy()), 40);
  const Model model = disk.load({.precision = "f32", .threads = 2, .batch = 4});
  Session session = session_of(model);
  std::atomic<int> ready = 0;
  int told = 0;
  session.stream([&](std::int64_t, const Answer&) { ++told; }, {.on_ready = [&] { ++ready; }});
  for (std::int64_t i = 0; i < 40; ++i) session.push(i, disk.images()[static_cast<std::size_t>(i)]);
  session.flush();
  EXPECT_EQ(told, 40);
  EXPECT_EQ(ready, 40);
}

TEST(Model, RunsInF32WhereADeploymentIsNotWhatWasMeasured) {
  if (!runtime::has_instructions_for(runtime::Precision::bf16))
    GTEST_SKIP() << "no instructions for bf16";
  model::ModelFile file = example_model(small_resnet());
  file.deployment = model::Deployment{"bf16", {}, {2000, 1, 0.9, 0.9, 0, 0}};
  const Options by_itself{.precision = "auto", .threads = 1};
  const ModelOnDisk good(file, 1);
  EXPECT_EQ(good.load(by_itself).precision(), "bf16");
  EXPECT_THAT(good.load(by_itself).notes(), IsEmpty());

  file.deployment->measured.agreement = 0.99;
  const ModelOnDisk lossy(file);
  EXPECT_EQ(lossy.load(by_itself).precision(), "f32");
  EXPECT_THAT(lossy.load(by_itself).notes(),
              ElementsAre("bf16 exceeded its bounds on the tune images: the model runs in f32"));
  EXPECT_EQ(lossy.load({.precision = "bf16"}).precision(), "bf16");
}

TEST(Session, RunsAQuantisedFileInEightBits) {
  if (!runtime::has_instructions_for(runtime::Precision::int8))
    GTEST_SKIP() << "no instructions for int8";
  const model::ModelFile source = example_model(small_resnet());
  model::ModelFile file =
      runtime::quantised_to_int8(source, graph::random_images(source.graph, 32, 9), 1);
  ASSERT_TRUE(file.deployment.has_value());
  file.deployment->measured = {2000, 1, 0.9, 0.9, 0, 0};
  file.policy = policy::ChosenPolicy{mixed_policy()};
  const ModelOnDisk disk(file, 21);
  const Model model = disk.load({.precision = "auto", .threads = 1, .batch = 4});
  EXPECT_EQ(model.precision(), "int8");
  EXPECT_THAT(model.notes(), IsEmpty());
  runtime::CompileOptions options;
  options.precision = runtime::Precision::int8;
  options.ranges = file.deployment->ranges;
  const auto expected = replayed(disk, file.policy->policy, exhaustive_logits(disk, options));
  Session session = session_of(model);
  const auto batch = session.classify(disk.images());
  std::vector<Answer> streamed(batch.size());
  session.stream([&](std::int64_t id, const Answer& answer) {
    streamed[static_cast<std::size_t>(id)] = answer;
  });
  for (std::size_t i = 0; i < batch.size(); ++i) {
    session.push(static_cast<std::int64_t>(i), disk.images()[i]);
    EXPECT_EQ(batch[i].exit, expected[i].exit);
    EXPECT_EQ(batch[i].probabilities, expected[i].probabilities);
    expect_same(session.classify(disk.images()[i]), batch[i]);
  }
  session.flush();
  for (std::size_t i = 0; i < batch.size(); ++i) expect_same(streamed[i], batch[i]);
}

TEST(Session, GuaranteesOnlyWhatWasCertified) {
  model::ModelFile file = with_policy(small_resnet(), mixed_policy());
  file.policy->guarantee =
      policy::Guarantee{"harm", 0.01, 0.05, 0.05, 4000, 20, 0.009, "f32", runtime::kernels_name()};
  file.policy->seen = policy::TuneExitShares{2000, {0, 0, 1}};
  const ModelOnDisk disk(file);
  const Model model = disk.load({.threads = 1});
  EXPECT_EQ(model.guarantee()->in_force, InForce::yes);
  EXPECT_EQ(model.guarantee_so_far()->why, "");
  EXPECT_EQ(Session(model).guarantee()->in_force, InForce::unknown);
  EXPECT_THAT(Session(model).guarantee()->why, HasSubstr("0 images are too few"));
  EXPECT_THAT(model.notes(), IsEmpty());
  EXPECT_EQ(model.precision(), "f32");
  EXPECT_EQ(Session(model).guarantee()->of, "harm");
  EXPECT_EQ(Session(model).guarantee()->epsilon, 0.01);
  EXPECT_EQ(Session(model).guarantee()->delta, 0.05);
  for (const Stop& stop :
       {Stop::never(), Stop::at_threshold(0.5f), Stop::within(1e6),
        Stop::by_policy().and_within(1e6), Stop::by_policy().and_within_macs(1'000'000'000)}) {
    EXPECT_EQ(Session(model, stop).guarantee()->in_force, InForce::no);
    EXPECT_THAT(Session(model, stop).guarantee()->why, HasSubstr("another rule"));
  }
  if (runtime::has_instructions_for(runtime::Precision::bf16)) {
    const Model narrow = disk.load({.precision = "bf16", .threads = 1});
    EXPECT_EQ(narrow.guarantee()->in_force, InForce::no);
    EXPECT_THAT(narrow.notes(), ElementsAre(HasSubstr("bf16, for which nothing was certified")));
  }
  file.policy->guarantee->kernels = "libtorch cpu";
  const ModelOnDisk other(file);
  EXPECT_THAT(other.load().notes(), ElementsAre(HasSubstr("libtorch cpu")));
  EXPECT_EQ(other.load().guarantee()->epsilon, 0.01);
  EXPECT_EQ(other.load().guarantee()->in_force, InForce::no);
  file.policy->guarantee.reset();
  EXPECT_FALSE(ModelOnDisk(file).load().guarantee().has_value());
}

// This test also runs under the thread sanitizer, so each operation has one thread: libgomp is not
// instrumented and causes false alarms with more threads.
TEST(Session, ServesManyThreadsOnOneModel) {
  const ModelOnDisk disk(with_policy(two_scale(), mixed_policy()), 12);
  const Model model = disk.load();
  std::vector<Answer> expected;
  {
    Session session = session_of(disk.load());
    for (const ImageView& image : disk.images()) expected.push_back(session.classify(image));
  }
  // The first thread compiles the network for batches while the others run.
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t, model] {
      Session session = session_of(model);
      int& mine = wrong[static_cast<std::size_t>(t)];
      for (int round = 0; round < 5; ++round) {
        const auto answers = session.classify(disk.images());
        for (std::size_t i = 0; i < answers.size(); ++i) {
          const Answer alone = session.classify(disk.images()[i]);
          mine += answers[i].probabilities != expected[i].probabilities;
          mine += alone.probabilities != expected[i].probabilities;
        }
        session.stream([&](std::int64_t id, const Answer& answer) {
          mine += answer.probabilities != expected[static_cast<std::size_t>(id)].probabilities;
        });
        for (std::size_t i = 0; i < answers.size(); ++i)
          session.push(static_cast<std::int64_t>(i), disk.images()[i]);
        session.flush();
      }
      mine += session.stats().images != 5 * 3 * 12;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, Each(0));
}

}  // namespace
}  // namespace offramp::test
