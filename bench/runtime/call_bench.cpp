// Times calls of a session that stops at exit 1: what a call costs beside the network.
//
//   call_bench MODEL [rounds 9]
//
// One thread classifies random pixels of 32x32, one image per call and 10,000 images per call. The
// output has the medians of the CPU time, in microseconds. bench/python_overhead.py measures the
// same from Python and runs this program for comparison.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "offramp/session.h"

namespace offramp {
namespace {

constexpr int kSide = 32, kImages = 10'000, kCalls = 200;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

double median_seconds(int rounds, const auto& work) {
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    const double start = cpu_seconds();
    work();
    seconds.push_back(cpu_seconds() - start);
  }
  std::ranges::sort(seconds);
  return seconds[seconds.size() / 2];
}

void measure(const std::string& path, int rounds) {
  const Model model = Model::load(path, {.threads = 1});
  Session session(model, Stop::at_threshold(0));
  std::mt19937 random(0);
  constexpr std::size_t kBytes = 3ull * kSide * kSide;
  std::vector<std::uint8_t> pixels(kImages * kBytes);
  for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>(random());
  std::vector<ImageView> images;
  for (std::size_t i = 0; i < kImages; ++i)
    images.push_back(ImageView::rgb8(std::span(pixels).subspan(i * kBytes, kBytes), kSide, kSide));
  session.classify(images.front());
  session.classify(images);
  const double one = median_seconds(10 * rounds, [&] {
    for (int call = 0; call < kCalls; ++call) session.classify(images.front());
  });
  const double many = median_seconds(rounds, [&] { session.classify(images); });
  fmt::print("{:.3f} us a call, {:.3f} us an image\n", 1e6 * one / kCalls, 1e6 * many / kImages);
}

}  // namespace
}  // namespace offramp

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    fmt::print(stderr, "usage: call_bench MODEL [rounds 9]\n");
    return EXIT_FAILURE;
  }
  try {
    offramp::measure(argv[1], argc > 2 ? std::atoi(argv[2]) : 9);
  } catch (const offramp::Error& error) {
    fmt::print(stderr, "call_bench: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
