// The server where memory runs out. This program can make any one of the allocations of the
// server's threads fail.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <limits>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "core/file.h"
#include "image/image.h"
#include "model/model_file.h"
#include "serve/batcher.h"
#include "serve/http_server.h"
#include "tests/api/example_model.h"
#include "tests/serve/raw_client.h"
#include "tests/support/graphs.h"
#include "tests/support/image_files.h"
#include "tests/support/reference.h"

namespace {

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
std::atomic<std::int64_t> until_failure = kNone;  ///< this many succeed before one fails
thread_local bool is_tests_own = false;           ///< the test's thread never fails

bool fails() {
  if (is_tests_own || until_failure.load(std::memory_order_relaxed) == kNone) return false;
  if (until_failure-- != 0) return false;
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

namespace offramp::serve {
namespace {

using std::chrono::milliseconds;

class Faults : public testing::Test {
 protected:
  Faults() { is_tests_own = true; }
  ~Faults() override { until_failure = kNone; }

  template <typename Condition>
  static bool wait_until(const Condition& condition) {
    for (int i = 0; i < 6000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return false;
  }
};

TEST_F(Faults, OfABatcherLeaveNoImageWithoutAnAnswer) {
  const core::TemporaryFolder folder;
  const model::ModelFile file = test::example_model(small_resnet());
  model::save_model(folder.path() / "m.safetensors", file);
  const std::vector<float> values = graph::random_images(file.graph, 1, 3);
  const std::vector<std::byte> png = image::encode_png(test::flat_image(300, 300, 1, 2, 3));
  const Model model =
      Model::load(folder.path() / "m.safetensors", {.precision = "f32", .threads = 2, .batch = 2});
  int failed = 0, answered = 0;
  for (std::int64_t n = 0; n < 120; ++n) {
    Batcher batcher(model, {});
    std::atomic<int> done = 0;
    const auto submit = [&](int images) {
      std::vector<ImageJob> jobs(static_cast<std::size_t>(images));
      for (int i = 0; i < images; ++i) {
        ImageJob& job = jobs[static_cast<std::size_t>(i)];
        job.image = i % 3 == 2 ? ImageView::encoded(png) : ImageView::normalised(values);
        job.is_to_decode = i % 3 == 2;
        job.arrived = std::chrono::steady_clock::now();
        job.done = [&](const ImageResult& result) {
          failed += result.kind == ImageResult::Kind::failed;
          answered += result.kind == ImageResult::Kind::answered;
          ++done;
        };
      }
      return batcher.submit(std::move(jobs));
    };
    until_failure = n;
    ASSERT_EQ(submit(n % 2 == 0 ? 1 : 7), Batcher::Admission::admitted);
    ASSERT_TRUE(wait_until([&] { return batcher.pending() == 0; })) << n;
    until_failure = kNone;
    EXPECT_EQ(done, n % 2 == 0 ? 1 : 7) << n;
    // Afterwards all is as before.
    ASSERT_EQ(submit(3), Batcher::Admission::admitted);
    ASSERT_TRUE(wait_until([&] { return batcher.pending() == 0; })) << n;
    batcher.close();
    EXPECT_EQ(done, n % 2 == 0 ? 4 : 10) << n;
  }
  EXPECT_GT(failed, 0);
  EXPECT_GT(answered, 3 * 120);
}

TEST_F(Faults, OfTheHttpServerCostAConnectionAtMost) {
  std::atomic<int> faults = 0;
  HttpOptions options;
  options.port = 0;
  options.on_fault = [&](const std::string&) { ++faults; };
  HttpServer server(options, [](const std::shared_ptr<Request>& request, const Reply& reply) {
    reply({.body = request->target});
  });
  server.start();
  for (std::int64_t n = 0; n < 60; ++n) {
    until_failure = n;
    {
      test::RawClient client(server.port());
      client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
      client.finish_sending();
      // A request that takes fewer allocations is answered meanwhile.
      for (int i = 0; i < 40 && until_failure.load() != kNone; ++i)
        std::this_thread::sleep_for(milliseconds(5));
    }
    until_failure = kNone;
    test::RawClient other(server.port());
    other.send("GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(other.receive().body, "/other") << n;
  }
  EXPECT_GT(faults, 0);
  EXPECT_TRUE(wait_until([&] { return server.counts().memory_bytes == 0; }));
}

}  // namespace
}  // namespace offramp::serve
