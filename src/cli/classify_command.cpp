#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "cli/command.h"
#include "cli/engine.h"
#include "workflow/evaluate.h"
#include "cli/policy_flags.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "graph/cost.h"
#include "image/image.h"

namespace offramp::cli {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr int kBatch = 32;

struct Flags {
  std::string model;
  std::vector<std::string> images;
  bool json = false;
  PolicyFlags policy;
  EngineFlags engine;
};

bool has_image_name(const fs::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

/// All JPEG and PNG files below a folder, in the order of their names.
std::vector<std::string> images_below(const std::string& folder) {
  std::vector<std::string> found;
  try {
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && has_image_name(entry.path()))
        found.push_back(entry.path().string());
  } catch (const fs::filesystem_error& error) {
    throw Error("{}: {}", folder, error.code().message());
  }
  if (found.empty()) throw Error("{}: no JPEG or PNG file in this folder", folder);
  std::sort(found.begin(), found.end());
  return found;
}

/// Names each image of the command line in turn: files as they stand, a folder's files, and for "-"
/// the lines of standard input as they arrive.
class ImageList {
 public:
  explicit ImageList(const std::vector<std::string>& arguments) {
    for (const std::string& argument : arguments) {
      std::error_code ignored;
      if (argument == "-") {
        reads_input_ = true;
      } else if (fs::is_directory(argument, ignored)) {
        for (std::string& path : images_below(argument)) paths_.push_back(std::move(path));
      } else {
        paths_.push_back(argument);
      }
    }
  }

  std::optional<std::string> next() {
    if (next_ < paths_.size()) return paths_[next_++];
    while (reads_input_) {
      auto line = take_line();
      if (!line) {
        if (read_some()) continue;
        reads_input_ = false;
        line = std::exchange(unread_, {});  // the last, without an end
      }
      if (!line->empty() && line->back() == '\r') line->pop_back();
      if (!line->empty()) return line;
    }
    return std::nullopt;
  }

  /// Whether next() would wait for somebody to write another line.
  bool would_block() {
    if (next_ < paths_.size() || !reads_input_) return false;
    for (;;) {
      // Blank lines name nothing: next() would go on behind them.
      while (unread_.starts_with('\n') || unread_.starts_with("\r\n"))
        unread_.erase(0, unread_.find('\n') + 1);
      if (unread_.find('\n') != unread_.npos) return false;
      pollfd input = {STDIN_FILENO, POLLIN, 0};
      if (poll(&input, 1, 0) == 0) return true;
      if (!read_some()) return false;
    }
  }

 private:
  std::optional<std::string> take_line() {
    const std::size_t end = unread_.find('\n');
    if (end == unread_.npos) return std::nullopt;
    std::string line = unread_.substr(0, end);
    unread_.erase(0, end + 1);
    return line;
  }

  /// False at the end of the input.
  bool read_some() {
    char bytes[4096];
    ssize_t count = 0;
    do count = read(STDIN_FILENO, bytes, sizeof bytes);
    while (count < 0 && errno == EINTR);
    if (count <= 0) return false;
    unread_.append(bytes, static_cast<std::size_t>(count));
    return true;
  }

  std::vector<std::string> paths_;
  std::size_t next_ = 0;
  bool reads_input_ = false;
  std::string unread_;  ///< of standard input
};

/// One image: its answer, or why there is none.
struct Answer {
  std::string image;
  std::string error;
  std::string class_name;
  double probability = 0;
  int exit_index = 0;
  double relative_cost = 0;
};

class Classifier {
 public:
  explicit Classifier(const Flags& flags)
      : flags_(flags),
        model_(load_model(flags.model)),
        predictor_(open_engine(model_, flags.engine)),
        cost_(cost_of(model_.graph)),
        policy_(never_stop(predictor_->num_exits())) {
    chosen_ = policy_of(flags.policy, model_, engine_for(model_, flags.engine));
    if (chosen_) policy_ = chosen_->policy;
    left_.resize(static_cast<std::size_t>(predictor_->num_exits()));
  }

  /// Answers in the order of `paths`; an image that cannot be used has its error.
  std::vector<Answer> classify(const std::vector<std::string>& paths) {
    const auto size = static_cast<std::size_t>(predictor_->image_size());
    std::vector<Answer> answers(paths.size());
    std::vector<std::size_t> readable;
    std::vector<float> inputs;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      answers[i].image = paths[i];
      try {
        const std::vector<std::byte> bytes = read_file(paths[i], kMaxImageBytes);
        const Image image = decode(paths[i], bytes);
        inputs.resize((readable.size() + 1) * size);
        to_input(image, model_.preprocessing,
                 std::span(inputs).subspan(readable.size() * size, size));
        readable.push_back(i);
      } catch (const Error& error) {
        inputs.resize(readable.size() * size);
        answers[i].error = error.what();
      } catch (const std::bad_alloc&) {
        inputs.resize(readable.size() * size);
        answers[i].error = fmt::format("{}: out of memory", paths[i]);
      }
    }
    if (!readable.empty()) answer(inputs, readable, answers);
    return answers;
  }

  /// Of all images so far.
  std::optional<DriftVerdict> drift() const {
    const double images = std::accumulate(left_.begin(), left_.end(), 0.0);
    if (!chosen_ || images == 0) return std::nullopt;
    std::vector<double> shares = left_;
    for (double& share : shares) share /= images;
    return drift_of(*chosen_, shares, static_cast<std::int64_t>(images));
  }

 private:
  static Image decode(const std::string& path, std::span<const std::byte> bytes) {
    try {
      return decode_image(bytes);
    } catch (const Error& error) {
      throw_with_place(path, error);
    }
  }

  void answer(std::span<const float> inputs, const std::vector<std::size_t>& readable,
              std::vector<Answer>& answers) {
    const StoppedAnswers stopped = stop_batch(*predictor_, inputs, policy_);
    for (std::size_t row = 0; row < readable.size(); ++row) {
      Answer& one = answers[readable[row]];
      one.class_name = model_.classes[static_cast<std::size_t>(stopped.answers[row])];
      one.probability = static_cast<double>(stopped.probabilities[row]);
      one.exit_index = stopped.exit_index[row];
      one.relative_cost = cost_.relative(one.exit_index);
      left_[static_cast<std::size_t>(one.exit_index)] += 1;
      if (!std::isfinite(one.probability))
        one.error = fmt::format("{}: the network's answer is not a finite number", one.image);
    }
  }

  const Flags& flags_;
  ModelFile model_;
  std::unique_ptr<Predictor> predictor_;
  Cost cost_;
  std::optional<ChosenPolicy> chosen_;
  Policy policy_;
  std::vector<double> left_;  ///< [K] images that left at each exit
};

void print_json(const Answer& answer) {
  json object = {{"image", answer.image}};
  if (answer.error.empty()) {
    object["class"] = answer.class_name;
    object["probability"] = answer.probability;
    object["exit"] = answer.exit_index + 1;
    object["relative_cost"] = answer.relative_cost;
  } else {
    object["error"] = answer.error;
  }
  write_out(object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

void print_answers(const std::vector<Answer>& answers, bool as_json) {
  if (as_json) {
    for (const Answer& answer : answers) print_json(answer);
    return;
  }
  std::size_t widest_image = 0, widest_class = 0;
  for (const Answer& answer : answers) {
    if (!answer.error.empty()) continue;
    widest_image = std::max(widest_image, answer.image.size());
    widest_class = std::max(widest_class, answer.class_name.size());
  }
  for (const Answer& answer : answers) {
    if (!answer.error.empty()) {
      tell(fmt::format("offramp: {}\n", printable(answer.error)));
      continue;
    }
    write_out(fmt::format("{:<{}}  {:<{}}  probability {:.3f}  exit {}  relative cost {:.3f}\n",
                          printable(answer.image), widest_image, printable(answer.class_name),
                          widest_class, answer.probability, answer.exit_index + 1,
                          answer.relative_cost));
  }
}

int run(const Flags& flags) {
  check(flags.policy);
  ImageList list(flags.images);
  Classifier classifier(flags);
  const auto batch = static_cast<std::size_t>(flags.engine.batch > 0 ? flags.engine.batch : kBatch);
  bool all_answered = true;
  std::vector<std::string> paths;
  for (bool more = true; more;) {
    paths.clear();
    // Whoever writes paths one by one, and waits for the answers, gets them one by one.
    while (paths.size() < batch && more && (paths.empty() || !list.would_block())) {
      if (auto path = list.next())
        paths.push_back(std::move(*path));
      else
        more = false;
    }
    const std::vector<Answer> answers = classifier.classify(paths);
    print_answers(answers, flags.json);
    std::fflush(stdout);
    for (const Answer& answer : answers) all_answered = all_answered && answer.error.empty();
  }
  if (const auto drift = classifier.drift(); drift && drift->drift == Drift::drifted)
    tell(fmt::format("offramp: drift: {}\n", describe(*drift)));
  return all_answered ? 0 : 1;
}

}  // namespace

void add_classify_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("classify", "Name what is in images");
  command->add_option("model", flags->model, "Model file")->required();
  command
      ->add_option("images", flags->images,
                   "JPEG or PNG files, folders of them, or - for paths on standard input")
      ->required();
  add_policy_flags(*command, flags->policy);
  command->add_flag("--json", flags->json, "Print one JSON object a line");
  add_engine_flags(*command, flags->engine);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
