// Measures how well deadlines are met. Images are classified one at a time, each with a deadline,
// by a ResNet-18 (cifar stem, 32x32, two early exits with spp heads, random weights) that without a
// deadline always goes to the last exit.
//
//   deadline_bench [width 64] [images 2000]
//
// Deadlines lie between the median times of the exits. "late" is the share of images whose answer
// came after the deadline, "by" how late those answers were (median, worst). No deadline is shorter
// than the time of exit 1, which cannot be met. Times exclude decoding: images are given as the
// network's input.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "core/file.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "offramp/session.h"

namespace offramp {
namespace {

using Clock = std::chrono::steady_clock;

struct Timed {
  std::vector<double> ms;
  std::vector<std::int64_t> exits;
};

Timed run(const Model& model, const Stop& stop, std::span<const float> image, int count) {
  Session session(model, stop);
  Timed timed;
  for (int i = 0; i < count; ++i) {
    const auto start = Clock::now();
    session.classify(ImageView::normalised(image));
    timed.ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  timed.exits = session.stats().exits;
  return timed;
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

void measure(int width, int count) {
  graph::NetworkSpec spec;
  spec.options.width = width;
  spec.exits = {"2", "4"};
  model::ModelFile file;
  file.graph = graph::build_network(spec);
  file.weights = graph::random_weights(file.graph, 1);
  for (int i = 0; i < 10; ++i) file.classes.push_back(fmt::format("class {}", i));
  file.loss_weights = {1, 1, 1};
  const core::TemporaryFolder folder;
  model::save_model(folder.path() / "model.safetensors", file);
  const auto image = graph::random_images(file.graph, 1, 1);
  for (const char* precision : {"f32", "bf16"}) {
    const Model model =
        Model::load(folder.path() / "model.safetensors", {.precision = precision, .threads = 1});
    std::vector<double> medians;
    for (int k = 0; k < 3; ++k) {
      const Stop stop = Stop::within_macs(model.macs()[static_cast<std::size_t>(k)]);
      medians.push_back(quantile(run(model, stop, image, count / 4).ms, 0.5));
      fmt::print("{} exit {}: {:.2f} ms\n", model.precision(), k + 1, medians.back());
    }
    const double deadlines[] = {(medians[0] + medians[1]) / 2, medians[1] * 1.1,
                                (medians[1] + medians[2]) / 2, medians[2] * 1.1, medians[2] * 1.5};
    for (const double deadline : deadlines) {
      const Timed timed = run(model, Stop::within(deadline), image, count);
      std::vector<double> late;
      for (const double ms : timed.ms)
        if (ms > deadline) late.push_back(ms - deadline);
      const auto share = [&](double number) { return 100 * number / count; };
      fmt::print(
          "{} within {:5.2f} ms: exits {:3.0f} {:3.0f} {:3.0f} %, late {:5.2f} % by {:.2f}, {:.2f} "
          "ms\n",
          model.precision(), deadline, share(static_cast<double>(timed.exits[0])),
          share(static_cast<double>(timed.exits[1])), share(static_cast<double>(timed.exits[2])),
          share(static_cast<double>(late.size())), quantile(late, 0.5), quantile(late, 1));
    }
  }
}

}  // namespace
}  // namespace offramp

int main(int argc, char** argv) {
  offramp::measure(argc > 1 ? std::atoi(argv[1]) : 64, argc > 2 ? std::atoi(argv[2]) : 2000);
  return 0;
}
