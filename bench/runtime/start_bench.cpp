// Measures the time from the start of a program to its first answer, for an application that loads
// a model and classifies one image, and the memory that it uses.
//
//   start_bench [--width 64] [--file f32|bf16|int8] [--precision auto] [--runs 15] [--batch 1]
//
// A ResNet-18 (cifar stem, 32x32, two early exits with spp heads, random weights) is saved in the
// given precision (int8: a deployment file, as "offramp quantize" writes it). Then this program is
// started repeatedly as a child process, each time to load the file, which is in the page cache,
// and to run one image to the last exit on one thread. "total" is the time from before the start of
// the process, including its shared libraries, until the parent has received the answer. "load" and
// "first" are the times of loading the model and of the first classification; with a batch above 1,
// "first" is that of the first batch. Memory is the peak of the resident set.
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "core/bf16.h"
#include "core/error.h"
#include "core/file.h"
#include "core/numbers.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "offramp/session.h"
#include "runtime/quantize.h"

extern char** environ;

namespace offramp {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

core::HostTensor in_bf16(const core::HostTensor& tensor) {
  core::HostTensor result{core::DType::bf16, tensor.shape, {}};
  result.bytes.resize(static_cast<std::size_t>(tensor.count()) * 2);
  std::ranges::transform(tensor.as<float>(), result.as<std::uint16_t>().begin(), core::to_bf16);
  return result;
}

/// Writes a model file with random weights. @return the size of the weights in bytes
std::size_t write_model(const std::string& path, int width, const std::string& precision) {
  graph::NetworkSpec spec;
  spec.options.width = width;
  spec.exits = {"2", "4"};
  model::ModelFile model;
  model.graph = graph::build_network(spec);
  model.weights = graph::random_weights(model.graph, 1);
  for (auto& [name, tensor] : model.weights)
    if (precision == "bf16") tensor = in_bf16(tensor);
  for (int i = 0; i < 10; ++i) model.classes.push_back(fmt::format("class {}", i));
  model.loss_weights = {1, 1, 1};
  if (precision == "int8") {
    model = runtime::quantised_to_int8(model, graph::random_images(model.graph, 16, 1), 1);
    model.deployment->measured.images = 1;  // so that int8 counts as measured and `auto` may use it
  }
  model::save_model(path, model);
  std::size_t bytes = 0;
  const core::Safetensors file = core::Safetensors::open(path);
  for (const auto& [name, view] : file.tensors()) bytes += view.bytes.size();
  return bytes;
}

/// Returns the peak of the resident set in MB.
double peak_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::atof(line.c_str() + 6) / 1024;
  return 0;
}

struct Run {
  double total = 0, load = 0, first = 0, idle_mb = 0, peak_mb = 0;
};

int child(const char* path, const char* precision, int batch) {
  const double idle = peak_mb();
  const auto start = Clock::now();
  const Model model = Model::load(path, {.precision = precision, .threads = 1, .batch = batch});
  const double load = ms_since(start);
  const std::vector<float> image(3 * 32 * 32, 0.5f);
  Session session(model, Stop::never());
  const std::vector<ImageView> images(static_cast<std::size_t>(batch),
                                      ImageView::normalised(image));
  const Answer answer = session.classify(images).front();
  std::printf("%d %g %g %g %g\n", answer.exit, load, ms_since(start) - load, idle, peak_mb());
  std::fflush(stdout);
  std::_Exit(0);
}

Run run_child(const std::string& path, const std::string& precision, const std::string& batch) {
  int ends[2];
  if (::pipe(ends) != 0) throw Error(fmt::format("cannot create a pipe: {}", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  std::string self = "/proc/self/exe", flag = "--child", file = path, word = precision,
              size = batch;
  char* arguments[] = {self.data(), flag.data(), file.data(), word.data(), size.data(), nullptr};
  Run run;
  const auto start = Clock::now();
  pid_t pid = 0;
  if (::posix_spawn(&pid, self.c_str(), &actions, nullptr, arguments, environ) != 0)
    throw Error("cannot start a process");
  ::close(ends[1]);
  char text[200] = {};
  const ssize_t got = ::read(ends[0], text, sizeof text - 1);
  run.total = ms_since(start);
  ::close(ends[0]);
  ::waitpid(pid, nullptr, 0);
  posix_spawn_file_actions_destroy(&actions);
  int exit = 0;
  if (got <= 0 || std::sscanf(text, "%d %lg %lg %lg %lg", &exit, &run.load, &run.first,
                              &run.idle_mb, &run.peak_mb) != 5)
    throw Error("the child process ended without a result");
  return run;
}

double median(const std::vector<Run>& runs, double Run::*part) {
  std::vector<double> values;
  for (const Run& run : runs) values.push_back(run.*part);
  return core::median(std::move(values));
}

int main(int argc, char** argv) {
  if (argc == 5 && std::strcmp(argv[1], "--child") == 0)
    return child(argv[2], argv[3], std::atoi(argv[4]));
  int width = 64, count = 15;
  std::string file = "bf16", precision = "auto", batch = "1";
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--width") width = std::atoi(argv[i + 1]);
    if (flag == "--runs") count = std::max(1, std::atoi(argv[i + 1]));
    if (flag == "--file") file = argv[i + 1];
    if (flag == "--precision") precision = argv[i + 1];
    if (flag == "--batch") batch = argv[i + 1];
  }
  const core::TemporaryFolder folder;
  const std::string path = folder.path() / "model.safetensors";
  const double weights_mb = static_cast<double>(write_model(path, width, file)) / (1 << 20);
  std::vector<Run> runs;
  for (int i = 0; i < count; ++i) runs.push_back(run_child(path, precision, batch));
  double least = runs[0].total;
  for (const Run& run : runs) least = std::min(least, run.total);
  fmt::print(
      "width {}, weights {:.1f} MB in {}, runs in {}, batch {}: {} runs\n"
      "total {:.0f} ms (least {:.0f}): load {:.0f}, first {:.1f}\n"
      "peak {:.0f} MB of which {:.0f} before loading; 2 x weights + 64 = {:.0f}\n",
      width, weights_mb, file, precision, batch, count, median(runs, &Run::total), least,
      median(runs, &Run::load), median(runs, &Run::first), median(runs, &Run::peak_mb),
      median(runs, &Run::idle_mb), 2 * weights_mb + 64);
  return 0;
}

}  // namespace
}  // namespace offramp

int main(int argc, char** argv) {
  try {
    return offramp::main(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
