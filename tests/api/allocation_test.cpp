// Tests of the allocations of a session and of its behaviour when one fails. This program counts
// its allocations and can make any of them fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <vector>

#include "core/file.h"
#include "offramp/session.h"
#include "runtime/compile.h"
#include "runtime/refill_batcher.h"
#include "runtime/single_image_run.h"
#include "tests/api/example_model.h"
#include "tests/support/reference.h"

namespace {

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
std::atomic<std::int64_t> allocations = 0;
std::atomic<std::int64_t> until_failure = kNone;  ///< this many succeed before one fails

bool fails() {
  ++allocations;
  if (until_failure == kNone || until_failure-- > 0) return false;
  until_failure = kNone;
  return true;
}

}  // namespace

// Not inlined, because GCC would warn that memory from operator new is passed to free().
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (!fails())
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return fails() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace offramp::test {
namespace {

using testing::HasSubstr;

/// A network with three exits, and images for it.
class SessionMemory : public testing::Test {
 protected:
  SessionMemory() {
    model::save_model(path, file);
    model.emplace(Model::load(path, {.precision = "f32", .threads = 1, .batch = 8}));
    const std::size_t size = values.size() / kImages;
    for (std::size_t i = 0; i < kImages; ++i)
      images.push_back(ImageView::normalised(std::span(values).subspan(i * size, size)));
  }
  ~SessionMemory() override { until_failure = kNone; }

  static constexpr std::size_t kImages = 24;
  core::TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "model.safetensors";
  model::ModelFile file = [] {
    model::ModelFile made = example_model(small_resnet());
    policy::Policy policy = policy::never_stop(3);
    policy.criterion = policy::Criterion::margin;
    policy.thresholds = {0.3f, 0.2f};
    made.policy = policy::ChosenPolicy{policy};
    return made;
  }();
  std::optional<Model> model;
  std::vector<float> values = graph::random_images(file.graph, kImages, 3);
  std::vector<ImageView> images;
};

// oneDNN allocates when it executes primitives; a session adds only the allocations of its answers.
TEST_F(SessionMemory, IsAllocatedForProbabilitiesAloneAndOnlyIfAskedFor) {
  runtime::CompileOptions options;
  options.threads = 1;
  const auto spent = [](const auto& work) {
    work();  // the first run allocates the memory that is reused
    const std::int64_t before = allocations;
    work();
    return allocations - before;
  };
  const std::size_t size = values.size() / kImages;
  const auto count = static_cast<std::int64_t>(kImages);

  runtime::SingleImageRun image_run(runtime::compile(file.graph, file.weights, options,
                                                     *std::make_unique<runtime::WeightStore>()));
  const std::int64_t of_walks = spent([&] {
    for (std::size_t i = 0; i < kImages; ++i) {
      image_run.begin(std::span(values).subspan(i * size, size));
      for (int exit = 0; exit < 3; ++exit) image_run.advance();
    }
  });
  Session session(*model, Stop::never());
  Session with_probabilities(*model, {.stop = Stop::never(), .probabilities = true});
  Answer last;
  EXPECT_EQ(spent([&] {
              for (const ImageView& image : images) last = session.classify(image);
            }),
            of_walks);
  EXPECT_EQ(last.exit, 3);
  EXPECT_EQ(spent([&] {
              for (const ImageView& image : images) last = with_probabilities.classify(image);
            }),
            of_walks + count);

  options.batches = {8, 4, 2};
  runtime::RefillBatcher stream(runtime::compile(file.graph, file.weights, options,
                                                 *std::make_unique<runtime::WeightStore>()));
  const core::ExitVisitor go_on = [](std::int64_t, const core::ExitOutput&) { return false; };
  const std::int64_t of_stream = spent([&] {
    for (std::size_t i = 0; i < kImages; ++i)
      stream.push(static_cast<std::int64_t>(i), std::span(values).subspan(i * size, size), go_on);
    stream.flush(go_on);
  });
  std::vector<Answer> answers;
  EXPECT_EQ(spent([&] { answers = session.classify(images); }), of_stream + 1);
  EXPECT_EQ(spent([&] { answers = with_probabilities.classify(images); }), of_stream + count + 1);
  EXPECT_TRUE(answers.back().ok());
  std::int64_t told = 0;
  session.stream([&](std::int64_t, const Answer& answer) { told += answer.ok(); });
  EXPECT_EQ(spent([&] {
              for (std::size_t i = 0; i < kImages; ++i)
                session.push(static_cast<std::int64_t>(i), images[i]);
              session.flush();
            }),
            of_stream);
  EXPECT_EQ(told, 2 * count);
}

TEST_F(SessionMemory, MayRunOutWhileImagesWait) {
  for (const bool in_order : {false, true}) {
    Session session(*model, {.stop = Stop::never(), .probabilities = true});
    std::map<std::int64_t, std::string> told;
    session.stream([&](std::int64_t id, const Answer& answer) { told[id] = answer.error; },
                   {.in_order = in_order});
    for (std::size_t i = 0; i < 16; ++i) session.push(static_cast<std::int64_t>(i), images[i]);
    ASSERT_EQ(session.pending(), 0);
    told.clear();
    // The batch of eight images runs; then the allocation for the first answer fails.
    for (std::size_t i = 0; i < 7; ++i) session.push(static_cast<std::int64_t>(i), images[i]);
    EXPECT_EQ(session.pending(), 7);
    until_failure = 0;
    EXPECT_THROW(session.push(7, images[7]), std::bad_alloc);
    EXPECT_EQ(until_failure, kNone);
    session.poll();
    EXPECT_EQ(session.pending(), 0);
    EXPECT_EQ(told.size(), 8u);
    for (const auto& [id, error] : told) EXPECT_THAT(error, HasSubstr("bad_alloc")) << id;
    EXPECT_EQ(session.stats().images, 16);

    told.clear();
    for (std::size_t i = 8; i < 20; ++i) session.push(static_cast<std::int64_t>(i), images[i]);
    session.flush();
    EXPECT_EQ(told.size(), 12u);
    for (const auto& [id, error] : told) EXPECT_EQ(error, "") << id;
  }
}

TEST_F(SessionMemory, MayRunOutAnywhereInAStream) {
  Session fine(*model, {.probabilities = true});
  const auto expected = fine.classify(images);
  bool failed = true;
  for (std::int64_t n = 0; failed; ++n) {
    ASSERT_LT(n, 1000);
    SCOPED_TRACE(n);
    Session session(*model, {.probabilities = true});
    session.classify(std::span(images).first(2));  // allocates the tensors
    std::vector<int> told(2 * kImages);
    session.stream([&](std::int64_t id, const Answer& answer) {
      ++told[static_cast<std::size_t>(id)];
      const std::size_t image = static_cast<std::size_t>(id) % kImages;
      if (answer.ok()) {
        EXPECT_EQ(answer.probabilities, expected[image].probabilities);
      } else {
        EXPECT_LT(id, static_cast<std::int64_t>(kImages));
      }
    });
    failed = false;
    until_failure = n;
    for (std::size_t i = 0; i < kImages; ++i) try {
        session.push(static_cast<std::int64_t>(i), images[i]);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
    until_failure = kNone;
    session.flush();
    for (std::size_t i = 0; i < kImages; ++i)
      session.push(static_cast<std::int64_t>(kImages + i), images[i]);
    session.flush();
    EXPECT_EQ(session.pending(), 0);
    for (std::size_t i = 0; i < told.size(); ++i) {
      // If push() threw before it added the image, the image gets no answer.
      EXPECT_LE(told[i], 1) << i;
      if (i >= kImages) {
        EXPECT_EQ(told[i], 1) << i;
      }
    }
  }
}

}  // namespace
}  // namespace offramp::test
