#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <span>
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
#include "image/signature.h"
#include "offramp/model.h"
#include "offramp/session.h"
#include "workflow/run_folder.h"

namespace offramp::cli {
namespace {

constexpr int kImagesAtOnce = 256;

struct Flags {
  std::string model;
  std::vector<std::string> images;
  bool json = false;
  int top_k = 0;
  PolicyFlags policy;
  workflow::RunOptions run;
};

SessionOptions session_options(const Flags& all) {
  const PolicyFlags& flags = all.policy;
  policy_choice(flags);  // throws if the flags are invalid
  SessionOptions options;
  options.probabilities = all.json || all.top_k > 0;
  if (flags.threshold)
    options.stop = Stop::at_score(flags.criterion, static_cast<float>(*flags.threshold));
  else if (flags.no_policy)
    options.stop = Stop::never();
  return options;
}

Model load(const Flags& flags) {
  if (image::has_image_extension(flags.model))
    throw UsageError(fmt::format(
        "{}: an image, but the model comes first: offramp classify MODEL IMAGES…", flags.model));
  Options options;
  options.precision = flags.run.precision;
  options.threads = flags.run.threads;
  Model model = Model::load(workflow::model_path(flags.model), options);
  const workflow::Progress progress = terminal_progress();
  for (const std::string& note : model.notes()) progress.remark(note);
  return model;
}

/// Classifies images. The result is in the order of `paths`; an image that cannot be classified has
/// an answer with an error.
/// @param input_image  the image that the path "-" stands for; empty if it is a file
ClassifiedBatch classify(Session& session, const std::vector<std::string>& paths,
                         std::span<const std::byte> input_image) {
  std::vector<ImageView> images;
  for (const std::string& path : paths)
    images.push_back(path == "-" && !input_image.empty() ? ImageView::encoded(input_image)
                                                         : ImageView::file(path));
  const auto start = std::chrono::steady_clock::now();
  std::vector<Answer> answers = session.classify(images);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  ClassifiedBatch batch;
  for (std::size_t i = 0; i < paths.size(); ++i)
    batch.images.push_back({paths[i], std::move(answers[i])});
  if (!paths.empty()) batch.ms_per_image = time.count() / static_cast<double>(paths.size());
  return batch;
}

/// Prints answers. The certificate of an int8 file is not checked before the first answers: the
/// check runs images.
void print(const Session& session, const ClassifiedBatch& batch, bool are_first, bool as_json,
           const AnswerFormat& format) {
  if (as_json)
    write_stdout(
        to_json_lines(batch, format, are_first ? session.guarantee_so_far() : session.guarantee()));
  else
    write_stdout(to_text(batch.images, format));
  if (!as_json) write_stderr(error_lines(batch.images));
  flush_stdout();
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
  const SessionOptions options = session_options(flags);
  ImagePathReader path_reader(flags.images);
  const Model model = translate_option_errors([&] { return load(flags); });
  Session session(model, options);
  const auto batch_size =
      static_cast<std::size_t>(flags.run.batch > 0 ? flags.run.batch : kImagesAtOnce);
  const AnswerFormat format{model.classes(), flags.top_k};
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
    const ClassifiedBatch batch = classify(session, paths, path_reader.input_image());
    print(session, batch, are_first, flags.json, format);
    are_first = are_first && batch.images.empty();
    for (const ClassifiedImage& one : batch.images) all_answered = all_answered && one.answer.ok();
  }
  warn_of_drift(session, !options.stop);
  return all_answered ? 0 : 1;
}

}  // namespace

void add_classify_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("classify", "Classify images");
  command->add_option("model", flags->model, "Model file or run folder")->required();
  command
      ->add_option(
          "images", flags->images,
          "JPEG, PNG, WebP or BMP files, folders of them, or - for paths or one image on standard "
          "input")
      ->required();
  add_policy_flags(*command, flags->policy);
  command->add_flag("--json", flags->json, "Print one line of JSON for each image");
  command
      ->add_option("--top-k", flags->top_k,
                   "Number of most probable classes to show too, with their probabilities")
      ->check(CLI::Range(1, 1'000'000));
  add_run_flags(*command, flags->run);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
