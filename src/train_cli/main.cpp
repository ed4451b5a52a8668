#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cli/program.h"
#include "cli/source_flags.h"
#include "cli/start_training.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "graph/network_spec.h"
#include "train/process_group.h"
#include "train/ranks.h"
#include "train/run.h"
#include "train/start_check.h"
#include "train_cli/exits_command.h"
#include "train_cli/training_progress.h"
#include "workflow/fit_recipe.h"
#include "workflow/output_file.h"
#include "workflow/run_folder.h"

namespace offramp::train_cli {
namespace {

using cli::printable;
using train::TrainOutcome;
using workflow::RunFolder;

struct Flags {
  std::string recipe, out = "runs/train";
  bool resume = false;
  std::vector<std::string> set;
  std::map<std::string, std::string> keys;  // recipe keys that were set by flags, with their values
  std::string image_size;                   // 96x64 is a width of 96 and a height of 64
};

constexpr const char* kImageSize = "data.image_size";

// A flag that sets a key of the recipe. A resumed run accepts only flags that do not change the
// result: where the data are, and how the machine is used.
struct KeyFlag {
  const char* flag;
  const char* key;
  bool allowed_when_resumed;
  const char* description;
};
constexpr KeyFlag kKeyFlags[] = {
    {"--data", "data.source", true,
     "Images: CIFAR or IDX (MNIST) files, image folder or archive, packed file, synthetic"},
    {"--backbone", "network.backbone", false, "Backbone"},
    {"--stem", "network.stem", false, "Stem of the backbone: cifar or imagenet"},
    {"--width", "network.width", false, "Channels of the first stage"},
    {"--exits", "network.exits", false,
     "Blocks after which to exit, or shares of the cost: 2,5 or 15%,45%; or auto, with --from: "
     "where they save most"},
    {"--head", "network.head", false, "Head of the early exits, one for all or one for each"},
    {"--from", "train.from", false,
     "Start from the weights of a safetensors file or a run folder, adding exits to it; width "
     "and stem are read from it"},
    {"--epochs", "train.epochs", false, "Epochs"},
    {"--seed", "train.seed", false, "Seed of weights, order and augmentation"},
    {"--threads", "train.threads", true, "Threads; 0: all cores"},
    {"--device", "train.device", true, "cpu or cuda"},
    {"--checkpoint-every", "train.checkpoint_every", true,
     "Minutes between checkpoints within an epoch; 0, the default: none"},
};

/// Returns the recipe with all flags applied.
/// @param changes  receives a line for each key that was changed to fit others
recipe::Recipe recipe_of(const Flags& flags, std::vector<std::string>& changes) {
  recipe::Recipe recipe;
  if (flags.resume) {
    if (!flags.recipe.empty() || !flags.set.empty())
      throw UsageError(
          "--resume: the recipe is the config.toml of the run; leave out the recipe and --set");
    for (const KeyFlag& flag : kKeyFlags)
      if (!flag.allowed_when_resumed && flags.keys.contains(flag.key))
        throw UsageError(fmt::format(
            "--resume: {} cannot be changed in a resumed run; leave it out", flag.flag));
    if (!flags.image_size.empty())
      throw UsageError("--resume: --image-size cannot be changed in a resumed run; leave it out");
    const auto path = RunFolder(flags.out).config();
    if (!std::filesystem::exists(path))
      throw UsageError(fmt::format("--resume: {}: there is no run in this folder", flags.out));
    recipe = recipe::read_recipe(path);
  } else {
    if (flags.recipe.empty())
      throw UsageError("train: needs a recipe (see configs/), or --resume with --out");
    recipe = recipe::read_recipe(flags.recipe);
  }
  std::set<std::string> overridden;
  for (const std::string& assignment : flags.set) {
    const auto equals = assignment.find('=');
    if (equals == std::string::npos)
      throw UsageError(fmt::format("--set: expected key=value, got \"{}\"", assignment));
    const std::string key = recipe::full_key_name(assignment.substr(0, equals));
    recipe::set_key(recipe, key, assignment.substr(equals + 1));
    overridden.insert(key);
  }
  for (const auto& [key, value] : flags.keys) {
    recipe::set_key(recipe, key, value);
    overridden.insert(key);
  }
  if (!flags.image_size.empty()) {
    const cli::ImageSize size = cli::parse_image_size(flags.image_size);
    recipe::set_key(recipe, kImageSize, fmt::format("[{}, {}]", size.height, size.width));
  }
  for (const std::filesystem::path& file : RunFolder(flags.out).files())
    workflow::refuse_same_file("--out", file,
                               {recipe.train.from, recipe.data.source, flags.recipe});
  if (!flags.resume) {
    if (!recipe.train.from.empty())
      recipe.train.from = workflow::model_path(recipe.train.from).string();
    changes = workflow::fit_recipe(recipe, overridden);
  }
  check(recipe);
  return recipe;
}

/// The flags of a process and the recipe that they stand for.
struct Start {
  Flags flags;
  recipe::Recipe recipe;
  std::vector<std::string> changes;  // changes to the recipe, as recipe_of() returns them
};

/// Reads the recipe, and checks the run folder if this process writes to it. When the launcher
/// starts the ranks again after one has died, a run that has a checkpoint is resumed.
Start prepare(const Flags& flags, bool writes, int restart) {
  Start start{flags, {}, {}};
  if (restart > 0 && std::filesystem::exists(RunFolder(flags.out).checkpoint())) {
    start.flags = Flags{};
    start.flags.out = flags.out;
    start.flags.resume = true;
    for (const KeyFlag& flag : kKeyFlags)
      if (flag.allowed_when_resumed && flags.keys.contains(flag.key))
        start.flags.keys[flag.key] = flags.keys.at(flag.key);
  }
  start.recipe = recipe_of(start.flags, start.changes);
  if (!writes) return start;
  // The run folder is checked first, because reading the data may take minutes.
  if (start.flags.resume)
    RunFolder(flags.out).check_not_training();
  else
    RunFolder(flags.out).check_free();
  return start;
}

/// The same for several processes. The run folder may be on the disk of rank 0 alone, so a resumed
/// run takes rank 0's recipe, but for the flags that say how this machine is used.
Start prepare(const Flags& flags, train::ProcessGroup& group, int restart) {
  Start start;
  group.agree([&] {
    if (group.is_first()) start = prepare(flags, true, restart);
  });
  std::string resumed = start.flags.resume ? recipe::to_toml(start.recipe) : "";
  group.share(resumed);
  group.agree([&] {
    if (group.is_first()) return;
    if (resumed.empty()) {
      start = prepare(flags, false, 0);
      return;
    }
    start = {flags, recipe::parse_recipe(resumed, "the recipe of rank 0"), {}};
    start.flags.resume = true;
    for (const KeyFlag& flag : kKeyFlags)
      if (flag.allowed_when_resumed && flags.keys.contains(flag.key))
        recipe::set_key(start.recipe, flag.key, flags.keys.at(flag.key));
  });
  return start;
}

/// Trains alone, or as one of the ranks that a launcher started.
/// @param group  the ranks; null for one process
int train_with(const Flags& given, const std::optional<train::Ranks>& ranks,
               train::ProcessGroup* group) {
  const bool first = group == nullptr || group->is_first();
  const Start start =
      group == nullptr ? prepare(given, true, 0) : prepare(given, *group, ranks->restart);
  const Flags& flags = start.flags;
  const recipe::Recipe& recipe = start.recipe;
  if (recipe::exit_places(recipe) == recipe::ExitPlaces::automatic) {
    if (group == nullptr) return run_with_automatic_exits(recipe, flags.out);
    group->agree([] {
      throw UsageError(
          "network.exits: one process chooses exits; start this training without a launcher");
    });
  }
  ProgressPrinter printer;
  const auto print_line = [&](const std::string& line) {
    if (first) printer.message(line);
  };
  for (const std::string& change : start.changes) print_line(printable(change));
  data::LoadOptions options;
  options.height = recipe.data.height;
  options.width = recipe.data.width;
  options.fit = recipe.data.fit;
  data::LoadedData data;
  const auto load = [&] { data = data::load_data(recipe.data.source, data::Part::train, options); };
  if (group == nullptr) {
    load();
  } else {
    group->agree(load);
    train::check_same_start(*group, train::describe_start(recipe, data.dataset));
  }
  for (std::size_t i = 0; i < data.skipped.size() && i < 10; ++i)
    print_line(fmt::format("skipped {}: {}", printable(data.skipped[i].name),
                           printable(data.skipped[i].reason)));
  if (data.skipped.size() > 10)
    print_line(fmt::format("skipped {} images in all", data.skipped.size()));

  train::TrainRequest request;
  request.recipe = recipe;
  request.data = &data;
  request.run = flags.out;
  request.resume = flags.resume;
  request.stop = &stop_at_signals();
  request.group = group;
  if (ranks) request.processes_here = ranks->local_world;
  const TrainOutcome outcome =
      train::train(request, first ? printer.events() : train::TrainEvents{});

  const std::string model = RunFolder(flags.out).model().string();
  switch (outcome) {
    case TrainOutcome::interrupted:
      print_line(fmt::format("stopped and saved; continue with: offramp train --resume --out {}",
                             flags.out));
      return 1;
    case TrainOutcome::already_finished:
      print_line(fmt::format("this run is already finished: {}", model));
      return 0;
    case TrainOutcome::finished:
      break;
  }
  print_line(fmt::format("done: {} (the best on tune); next: offramp test {} --data {}", model,
                         model, recipe.data.source));
  return 0;
}

// True if other ranks have failed: threads may still wait for them, so the process must end without
// waiting for its threads.
bool must_end_at_once = false;

int run(const Flags& flags) {
  const auto ranks = train::ranks_from_environment(
      [](const char* name) -> const char* { return std::getenv(name); });
  if (!ranks) return train_with(flags, ranks, nullptr);
  try {
    const auto group =
        train::join_process_group(*ranks, train::rank_timeout(std::getenv("OFFRAMP_RANK_TIMEOUT")));
    return train_with(flags, ranks, group.get());
  } catch (const train::ReportedByRankZero& error) {
    return error.wrong_usage ? 2 : 1;
  } catch (const train::RanksFailed&) {
    must_end_at_once = true;
    throw;
  } catch (const Error& error) {
    if (ranks->rank == 0) throw;
    core::throw_with_place(fmt::format("rank {}", ranks->rank), error);
  }
}

/// Returns the help of a flag. Names of backbones and heads are those of the registry.
std::string help_of(const KeyFlag& flag) {
  const auto with_names = [&](const auto& entries) {
    std::vector<std::string> names;
    for (const auto& entry : entries) names.push_back(entry.name);
    return fmt::format("{}: {}", flag.description, fmt::join(names, ", "));
  };
  if (flag.key == std::string_view("network.backbone")) return with_names(graph::backbones());
  if (flag.key == std::string_view("network.head")) return with_names(graph::heads());
  return flag.description;
}

void declare_training(CLI::App& app, cli::Action& action) {
  auto flags = std::make_shared<Flags>();
  app.name("offramp train");
  app.description("Train a network from a recipe");
  app.add_option("recipe", flags->recipe, "Recipe in TOML (see configs/)");
  app.add_option("-o,--out", flags->out, "Run folder")->capture_default_str();
  app.add_flag("--resume", flags->resume, "Continue the run in --out");
  app.add_option("--set", flags->set, "Override any key of the recipe: --set train.lr=0.05")
      ->take_all()
      ->expected(1);
  for (const KeyFlag& flag : kKeyFlags)
    app.add_option_function<std::string>(
        flag.flag, [flags, key = flag.key](const std::string& value) { flags->keys[key] = value; },
        help_of(flag));
  app.add_option("--image-size", flags->image_size,
                 "Size of the network's input: 64, or 96x64 (WxH); images are resized to it");
  action = [flags] { return run(*flags); };
}

/// Removes the flag --command, if given, from the arguments.
/// @return its value: the command of offramp that this program executes
std::string command_of(int& argc, char**& argv) {
  const std::string_view flag = argc > 1 ? argv[1] : "";
  if (!flag.starts_with(cli::kCommand)) return "train";
  const std::string command(flag.substr(std::string_view(cli::kCommand).size()));
  argv[1] = argv[0];
  --argc;
  ++argv;
  return command;
}

/// Removes the flag --started-by, if given, from the arguments.
/// @throws Error if the offramp that started this program is of another build
void check_starter(int& argc, char**& argv) {
  const std::string_view flag = argc > 1 ? argv[1] : "";
  if (!flag.starts_with(cli::kStartedBy)) return;
  const std::string_view starter = flag.substr(std::string_view(cli::kStartedBy).size());
  if (starter != cli::build_name())
    throw Error(fmt::format(
        "{} belongs to another build than the offramp that started it: got {}, expected {}; "
        "build and install both together",
        argv[0], cli::build_name(), starter));
  argv[1] = argv[0];
  --argc;
  ++argv;
}

}  // namespace
}  // namespace offramp::train_cli

int main(int argc, char** argv) {
  using namespace offramp;
  const int status = cli::run_reporting_errors([&] {
    train_cli::check_starter(argc, argv);
    return cli::run_program(argc, argv,
                            train_cli::command_of(argc, argv) == "exits"
                                ? train_cli::declare_exits
                                : train_cli::declare_training);
  });
  if (train_cli::must_end_at_once) std::_Exit(status);
  return status;
}
