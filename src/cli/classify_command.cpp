#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/classify_output.h"
#include "cli/command.h"
#include "cli/drift_text.h"
#include "cli/flag_names.h"
#include "cli/guarantee_output.h"
#include "cli/image_path_reader.h"
#include "cli/policy_flags.h"
#include "cli/progress.h"
#include "cli/run_flags.h"
#include "cli/terminal.h"
#include "offramp/model.h"
#include "offramp/session.h"

namespace offramp::cli {
namespace {

constexpr int kImagesAtOnce = 256;

struct Flags {
  std::string model;
  std::vector<std::string> images;
  bool json = false;
  PolicyFlags policy;
  workflow::RunOptions run;
};

SessionOptions session_options(const PolicyFlags& flags) {
  policy_choice(flags);  // throws if the flags are invalid
  SessionOptions options;
  if (flags.threshold)
    options.stop = Stop::at_score(flags.criterion, static_cast<float>(*flags.threshold));
  else if (flags.no_policy)
    options.stop = Stop::never();
  return options;
}

Model load(const Flags& flags) {
  Options options;
  options.precision = flags.run.precision;
  options.threads = flags.run.threads;
  const Model model = Model::load(flags.model, options);
  const workflow::Progress progress = terminal_progress();
  for (const std::string& note : model.notes()) progress.remark(note);
  return model;
}

/// Classifies images. The result is in the order of `paths`; an image that cannot be classified has
/// an answer with an error.
std::vector<ClassifiedImage> classify(Session& session, const std::vector<std::string>& paths) {
  std::vector<ImageView> images;
  for (const std::string& path : paths) images.push_back(ImageView::file(path));
  std::vector<Answer> answers = session.classify(images);
  std::vector<ClassifiedImage> result;
  for (std::size_t i = 0; i < paths.size(); ++i)
    result.push_back({paths[i], std::move(answers[i])});
  return result;
}

/// Prints answers. The certificate of an int8 file is not checked before the first answers: the
/// check runs images.
void print(const Session& session, const std::vector<ClassifiedImage>& answers, bool are_first,
           bool as_json) {
  if (as_json)
    write_stdout(
        to_json_lines(answers, are_first ? session.guarantee_so_far() : session.guarantee()));
  else
    write_stdout(to_text(answers));
  if (!as_json) write_stderr(error_lines(answers));
  std::fflush(stdout);
}

/// Warns if the images have changed, and of a certificate that is not in force for that reason.
void warn_of_drift(const Session& session, bool by_policy) {
  const Stats stats = session.stats();
  if (stats.drift != DriftFlag::drifted) return;
  write_stderr(
      fmt::format("offramp: drift: {}\n", drift_text(stats.drift_distance, stats.drift_p_value)));
  if (const std::string warning = warning_of(session.guarantee_so_far());
      by_policy && !warning.empty())
    write_stderr(fmt::format("offramp: {}\n", warning));
}

int run(const Flags& flags) {
  const SessionOptions options = session_options(flags.policy);
  ImagePathReader path_reader(flags.images);
  const Model model = translate_option_errors([&] { return load(flags); });
  Session session(model, options);
  const auto batch_size =
      static_cast<std::size_t>(flags.run.batch > 0 ? flags.run.batch : kImagesAtOnce);
  bool all_answered = true, are_first = true;
  std::vector<std::string> paths;
  for (bool more = true; more;) {
    paths.clear();
    // A program may write one path to our standard input and wait for its answer before the next.
    // So a batch ends when no further path is there yet.
    while (paths.size() < batch_size && more && (paths.empty() || !path_reader.would_block())) {
      if (auto path = path_reader.next())
        paths.push_back(std::move(*path));
      else
        more = false;
    }
    const std::vector<ClassifiedImage> answers = classify(session, paths);
    print(session, answers, are_first, flags.json);
    are_first = are_first && answers.empty();
    for (const ClassifiedImage& one : answers) all_answered = all_answered && one.answer.ok();
  }
  warn_of_drift(session, !options.stop);
  return all_answered ? 0 : 1;
}

}  // namespace

void add_classify_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("classify", "Classify images");
  command->add_option("model", flags->model, "Model file")->required();
  command
      ->add_option("images", flags->images,
                   "JPEG or PNG files, folders of them, or - for paths on standard input")
      ->required();
  add_policy_flags(*command, flags->policy);
  command->add_flag("--json", flags->json, "Print one line of JSON for each image");
  add_run_flags(*command, flags->run);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
