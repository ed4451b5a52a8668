// Compares one session that uses all cores, for a batch in one call and for a stream, with separate
// sessions on separate threads.
//
//   session_bench MODEL FOLDER [images 2000] [rounds 21] [threads 0: one for each core]
//
// FOLDER holds JPEG files, at any depth; the first `images` in the order of their paths are
// classified, once as decoded pixels and once as JPEG bytes:
//
//   separate   several threads, each with its own session of a model opened with one thread; each
//              classifies its share of the images in one call
//   one call   one session of a model opened with all threads; one call with all images
//   stream     one session of the same model; every image is pushed, then the stream is flushed
//
// Before anything is timed, all answers are checked to be bit-equal. A round times each of the
// three once. The output has the medians over the rounds, and the median of the ratios within a
// round, whose times are measured under the same load of the machine; a ratio below 1 is slower
// than separate sessions. CPU time is the sum over all threads; on a busy machine it is more
// reliable than wall-clock time.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/numbers.h"
#include "core/parallel.h"
#include "image/image.h"
#include "offramp/session.h"

namespace offramp {
namespace {

using Clock = std::chrono::steady_clock;
using Answers = std::vector<Answer>;

constexpr int kBatch = 32;

std::vector<std::vector<std::byte>> read_images(const std::filesystem::path& folder,
                                                std::size_t count) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.path().extension() == ".jpg") paths.push_back(entry.path());
  std::ranges::sort(paths);
  // Each class is a folder, so taking images at even distances takes some from every class.
  std::vector<std::vector<std::byte>> files;
  count = std::min(count, paths.size());
  for (std::size_t i = 0; i < count; ++i)
    files.push_back(core::read_file(paths[i * paths.size() / count]));
  return files;
}

/// Sessions that each run on their own thread.
class Separate {
 public:
  Separate(const std::filesystem::path& path, int threads)
      : model_(Model::load(path, {.threads = 1, .batch = kBatch})) {
    for (int i = 0; i < threads; ++i) sessions_.emplace_back(model_);
  }
  Answers classify(std::span<const ImageView> images) {
    std::vector<Answers> parts(sessions_.size());
    {
      std::vector<std::jthread> threads;
      for (std::size_t i = 0; i < parts.size(); ++i)
        threads.emplace_back([&, i] {
          const std::size_t begin = images.size() * i / parts.size();
          const std::size_t end = images.size() * (i + 1) / parts.size();
          parts[i] = sessions_[i].classify(images.subspan(begin, end - begin));
        });
    }
    Answers answers;
    for (Answers& part : parts) std::ranges::move(part, std::back_inserter(answers));
    return answers;
  }

 private:
  Model model_;
  std::vector<Session> sessions_;
};

Answers classify_stream(Session& session, std::span<const ImageView> images) {
  Answers answers(images.size());
  session.stream([&](std::int64_t id, const Answer& answer) {
    answers[static_cast<std::size_t>(id)] = answer;
  });
  for (std::size_t i = 0; i < images.size(); ++i)
    session.push(static_cast<std::int64_t>(i), images[i]);
  session.flush();
  return answers;
}

bool are_equal(const Answers& a, const Answers& b) {
  return std::ranges::equal(a, b, [](const Answer& one, const Answer& other) {
    return one.ok() && other.ok() && one.class_index == other.class_index &&
           one.probability == other.probability && one.exit == other.exit && one.macs == other.macs;
  });
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

int measure(const std::filesystem::path& path, const std::filesystem::path& folder,
            std::size_t count, int rounds, int threads) {
  const auto files = read_images(folder, count);
  if (files.empty()) throw UsageError(fmt::format("{}: no JPEG files", folder.string()));
  std::vector<image::Image> decoded;
  std::vector<ImageView> pixels, bytes;
  for (const auto& file : files) decoded.push_back(image::decode_image(file));
  for (const image::Image& image : decoded)
    pixels.push_back(ImageView::rgb8(image.rgb, image.width, image.height));
  for (const auto& file : files) bytes.push_back(ImageView::encoded(file));

  Separate separate(path, threads);
  const Model model = Model::load(path, {.threads = threads, .batch = kBatch});
  Session for_calls(model), for_stream(model);
  fmt::print("{} {}, {} threads, batch {}, {} images, {} rounds\n", path.filename().string(),
             model.precision(), threads, kBatch, files.size(), rounds);

  struct Form {
    const char* name;
    std::span<const ImageView> images;
  };
  for (const Form& form : {Form{"rgb8", pixels}, Form{"jpeg", bytes}}) {
    const std::array<std::function<Answers()>, 3> ways = {
        [&] { return separate.classify(form.images); },
        [&] { return for_calls.classify(form.images); },
        [&] { return classify_stream(for_stream, form.images); }};
    const Answers expected = ways[0]();
    for (const auto& way : ways)
      if (!are_equal(way(), expected)) {
        fmt::print("{}: the answers differ\n", form.name);
        return 1;
      }
    std::array<std::vector<double>, 3> seconds, cpu, ratios;
    for (int round = 0; round < rounds; ++round) {
      for (std::size_t turn = 0; turn < ways.size(); ++turn) {
        const std::size_t way = (turn + static_cast<std::size_t>(round)) % ways.size();
        const double cpu_start = cpu_seconds();
        const auto start = Clock::now();
        ways[way]();
        seconds[way].push_back(std::chrono::duration<double>(Clock::now() - start).count());
        cpu[way].push_back(cpu_seconds() - cpu_start);
      }
      for (std::size_t way = 0; way < ways.size(); ++way)
        ratios[way].push_back(seconds[0].back() / seconds[way].back());
    }
    const char* names[] = {"separate", "one call", "stream"};
    for (std::size_t way = 0; way < ways.size(); ++way)
      fmt::print("{} {:8}  {:7.0f} images/s  ratio {:.3f}  CPU {:.0f} us per image\n", form.name,
                 names[way], static_cast<double>(files.size()) / core::median(seconds[way]),
                 core::median(ratios[way]),
                 core::median(cpu[way]) / static_cast<double>(files.size()) * 1e6);
  }
  return 0;
}

}  // namespace
}  // namespace offramp

int main(int argc, char** argv) {
  using namespace offramp;
  if (argc < 3) {
    fmt::print(stderr, "usage: {} MODEL FOLDER [images] [rounds] [threads]\n", argv[0]);
    return 2;
  }
  const auto number = [&](int place, int otherwise) {
    const int given = argc > place ? std::atoi(argv[place]) : 0;
    return given > 0 ? given : otherwise;
  };
  try {
    return measure(argv[1], argv[2], static_cast<std::size_t>(number(3, 2000)), number(4, 21),
                   number(5, core::usable_cores()));
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
