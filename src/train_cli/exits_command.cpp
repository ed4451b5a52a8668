#include "train_cli/exits_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cli/exits_output.h"
#include "cli/flag_names.h"
#include "cli/progress.h"
#include "cli/run_flags.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "model/model_file.h"
#include "policy/criteria.h"
#include "report/exit_places.h"
#include "train/find_exits.h"
#include "train_cli/training_progress.h"
#include "workflow/output_file.h"
#include "workflow/provenance.h"

namespace offramp::train_cli {
namespace {

namespace fs = std::filesystem;

struct ExitsFlags {
  std::string model, data, out, then, device = "cpu";
  std::string criterion = "confidence", cost = "macs";
  std::vector<std::string> heads = {"spp", "conv-spp"};
  std::vector<std::string> set;
  std::optional<double> max_accuracy_drop, max_cost, guarantee, delta;
  int max_exits = 0;
  std::optional<int> epochs;
  bool label_free = false, json = false;
  workflow::RunOptions run;
};

policy::Aim aim_of(const ExitsFlags& flags) {
  const policy::CostUnit unit = policy::cost_unit_from_string(flags.cost);
  if (flags.max_accuracy_drop.has_value() + flags.max_cost.has_value() +
          flags.guarantee.has_value() !=
      1)
    throw UsageError("exits: give one of --max-accuracy-drop, --max-cost and --guarantee");
  if (flags.delta && !flags.guarantee) throw UsageError("--delta: needs --guarantee");
  if (flags.max_accuracy_drop) return policy::AccuracyDrop{*flags.max_accuracy_drop, {}, unit};
  if (flags.max_cost) return policy::MaxCost{*flags.max_cost, unit};
  policy::HarmGuarantee aim{*flags.guarantee};
  if (flags.delta) aim.delta = *flags.delta;
  aim.label_free = flags.label_free;
  aim.cost_unit = unit;
  return aim;
}

/// The flags that belong to the training, checked before any file is read.
void check_training_flags(const ExitsFlags& flags) {
  if (!flags.then.empty() && flags.then != "joint")
    throw UsageError(fmt::format("--then: expected joint, got {}", core::quote(flags.then)));
  if (flags.then.empty() != !flags.epochs.has_value())
    throw UsageError("--then joint and --epochs: give both, or none of them");
  if (flags.label_free && !flags.then.empty())
    throw UsageError("--then: training the whole network needs labels; leave out --label-free");
}

recipe::Recipe heads_recipe(const ExitsFlags& flags, const fs::path& model) {
  recipe::Recipe recipe = train::recipe_of_heads(model, flags.data, flags.heads, flags.label_free);
  for (const std::string& assignment : flags.set) {
    const auto equals = assignment.find('=');
    if (equals == std::string::npos)
      throw UsageError(fmt::format("--set: expected key=value, got \"{}\"", assignment));
    recipe::set_key(recipe, assignment.substr(0, equals), assignment.substr(equals + 1));
  }
  recipe.train.threads = flags.run.threads;
  recipe.train.device = flags.device;
  if (recipe::exit_places(recipe) != recipe::ExitPlaces::every)
    throw UsageError("--set: network.exits cannot be set here; the command places the exits");
  check(recipe);
  return recipe;
}

/// Writes the files that describe the result.
void write_files(const train::ExitsFolder& folder, const cli::ExitsResult& result) {
  core::write_text_atomic(folder.json(), cli::to_json_text(result));
  core::write_text_atomic(folder.page(), report::exit_places_html(cli::to_page(result)));
}

/// @return the result; no value if the training was interrupted
std::optional<cli::ExitsResult> find(train::FindExitsRequest& request) {
  ProgressPrinter printer;
  // The folder is checked first, because reading the data may take minutes.
  train::check_exits_folder(request);
  std::error_code ignored;
  fs::create_directories(request.out.path(), ignored);
  for (const fs::path& file : {request.out.model(), request.out.json(), request.out.page()})
    workflow::check_output("out", file, {request.model, request.source});
  data::LoadedData data =
      data::load_data(request.source, data::Part::train,
                      workflow::load_options(model::map_model(request.model).model));
  request.data = &data;
  const std::atomic<bool>& stop = stop_at_signals();
  request.stop = &stop;
  workflow::Progress progress = cli::terminal_progress();
  progress.cancelled = [&stop] { return stop.load(); };
  const train::FoundExits found = train::find_exits(request, printer.events(), progress);
  if (found.interrupted) return std::nullopt;
  cli::ExitsResult result;
  result.model = request.model.string();
  result.data = request.source;
  result.written_to = request.out.model();
  result.aim = request.place.aim;
  result.label_free = request.place.label_free;
  result.joint_epochs = request.joint ? request.joint->train.epochs : 0;
  result.head_seconds = found.head_seconds;
  result.placement = found.placement;
  result.calibration = found.calibration;
  write_files(request.out, result);
  return result;
}

int run(const ExitsFlags& flags) {
  check_training_flags(flags);
  train::FindExitsRequest request;
  request.place.kinds = flags.heads;
  request.place.aim = aim_of(flags);
  request.place.criterion = policy::criterion_from_string(flags.criterion);
  request.place.max_exits = flags.max_exits;
  request.place.label_free = flags.label_free;
  request.place.run = flags.run;
  if (request.place.criterion == policy::Criterion::patience)
    throw UsageError(
        "--criterion: patience depends on how many exits there are; use another to choose them");
  cli::translate_option_errors([&] { check(request.place.aim, request.place.criterion); });
  request.model = workflow::model_path(flags.model);
  request.source = flags.data;
  request.out = train::ExitsFolder(flags.out);
  request.heads = heads_recipe(flags, request.model);
  if (flags.epochs) {
    request.joint = train::recipe_of_joint_training(request.model, flags.data, *flags.epochs);
    request.joint->train.threads = flags.run.threads;
    request.joint->train.device = flags.device;
    check(*request.joint);
  }
  const std::optional<cli::ExitsResult> result =
      cli::translate_option_errors([&] { return find(request); });
  if (!result) {
    cli::write_stderr("stopped and saved; the same command continues\n");
    return 1;
  }
  cli::write_stdout(flags.json ? to_json_text(*result) : to_text(*result, cli::may_color(stdout)));
  return 0;
}

}  // namespace

void declare_exits(CLI::App& app, cli::Action& action) {
  auto flags = std::make_shared<ExitsFlags>();
  app.name("offramp exits");
  app.description(
      "Add early exits to a trained network where they save most: train a small head at every "
      "possible place, choose exits by measurement, and write the network with them and its "
      "policy");
  app.add_option("model", flags->model, "Model file or run folder")->required();
  app.add_option("--data", flags->data,
                 "Images: the data set that the network was trained on, or others like it")
      ->required();
  app.add_option("-o,--out", flags->out,
                 "Folder for the result; the same command continues what is in it")
      ->required();
  app.add_option("--heads", flags->heads, "Kinds of heads to try at every place")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--max-exits", flags->max_exits,
                 "Largest number of early exits; 0, the default: no limit")
      ->check(CLI::Range(0, 4096));
  app.add_option(
      "--max-accuracy-drop", flags->max_accuracy_drop,
      "Choose the lowest cost at which the accuracy is at most this far below the network's, "
      "for example 0.005");
  app.add_option(
      "--max-cost", flags->max_cost,
      "Choose the highest accuracy at a mean relative cost of at most this, for example 0.5");
  app.add_option(
      "--guarantee", flags->guarantee,
      "Choose the lowest cost at which the rate of harm is certified to be at most this, for "
      "example 0.01");
  app.add_option("--delta", flags->delta,
                 "With --guarantee: probability that it does not hold (default: 0.05)");
  app.add_flag("--label-free", flags->label_free,
               "Use no labels: heads learn from the network's answers, and accuracy is agreement "
               "with it");
  app.add_option("--criterion", flags->criterion, policy::criteria_names())->capture_default_str();
  app.add_option("--cost", flags->cost,
                 "Unit of cost: macs, or ms measured on this machine at --batch and --threads")
      ->check(CLI::IsMember({"macs", "ms"}))
      ->capture_default_str();
  app.add_option("--then", flags->then,
                 "joint: afterwards, train the network with its exits as a whole")
      ->check(CLI::IsMember({"joint"}));
  app.add_option("--epochs", flags->epochs, "With --then: epochs of that training")
      ->check(CLI::Range(1, 100000));
  app.add_option("--set", flags->set,
                 "Override a key of the recipe by which the heads are trained: --set "
                 "train.epochs=5")
      ->take_all()
      ->expected(1);
  app.add_option("--device", flags->device, "Train on cpu or cuda")->capture_default_str();
  app.add_flag("--json", flags->json, "Print JSON");
  cli::add_run_flags(app, flags->run);
  action = [flags] { return run(*flags); };
}

int run_with_automatic_exits(const recipe::Recipe& recipe, const std::string& out) {
  train::FindExitsRequest request;
  request.model = recipe.train.from;
  request.source = recipe.data.source;
  request.out = train::ExitsFolder(out);
  request.place.kinds = recipe.network.heads;
  request.place.aim = policy::AccuracyDrop{recipe.exits.max_accuracy_drop};
  request.place.max_exits = recipe.exits.max_exits;
  request.place.run.threads = recipe.train.threads;
  request.heads =
      train::recipe_of_heads(request.model, request.source, recipe.network.heads, false);
  request.heads.network.spp_levels = recipe.network.spp_levels;
  request.heads.data = recipe.data;
  recipe::TrainRecipe& heads = request.heads.train;
  heads.epochs = recipe.exits.head_epochs;
  heads.batch = recipe.train.batch;
  heads.seed = recipe.train.seed;
  heads.augmentation = recipe.train.augmentation;
  heads.precision = recipe.train.precision;
  heads.device = recipe.train.device;
  heads.threads = recipe.train.threads;
  heads.checkpoint_every = recipe.train.checkpoint_every;
  if (recipe.train.mode == recipe::Mode::joint) {
    request.joint = recipe;
    request.joint->network.exits = {"from"};
  }
  request.recipe = recipe;
  const std::optional<cli::ExitsResult> result = find(request);
  if (!result) {
    cli::write_stderr(
        fmt::format("stopped and saved; continue with: offramp train --resume --out {}\n", out));
    return 1;
  }
  cli::write_stderr(to_text(*result, cli::may_color(stderr)));
  return 0;
}

}  // namespace offramp::train_cli
