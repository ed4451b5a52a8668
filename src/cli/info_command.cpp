#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/compiled_output.h"
#include "cli/engine.h"
#include "workflow/evaluate.h"
#include "workflow/model_or_recipe.h"
#include "cli/terminal.h"
#include "core/tensor.h"
#include "graph/cost.h"
#include "graph/table.h"
#include "model/model_file.h"
#include "runtime/compiled_table.h"

namespace offramp::cli {
namespace {

struct Flags {
  std::string path;
  std::int64_t classes = 10;
  bool json = false, compiled = false;
  std::string precision;
  int batch = 8, threads = 1;
};

void print_json(const Graph& graph) {
  const Cost cost = cost_of(graph);
  nlohmann::ordered_json json = {{"macs", cost.plain_macs},
                                 {"parameters", cost.total_parameters()}};
  json["exits"] = nlohmann::ordered_json::array();
  for (std::size_t k = 0; k < cost.exit_macs.size(); ++k) {
    const int exit_index = static_cast<int>(k);
    json["exits"].push_back({{"exit", k + 1},
                             {"after", exit_place(graph, exit_index)},
                             {"macs", cost.exit_macs[k]},
                             {"relative_cost", cost.relative(exit_index)}});
  }
  write_out(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

std::string listed(const std::vector<std::string>& words) {
  constexpr std::size_t kShown = 20;
  std::string text;
  for (std::size_t i = 0; i < words.size() && i < kShown; ++i)
    text += (i == 0 ? "" : ", ") + printable(words[i]);
  if (words.size() > kShown) text += fmt::format(", and {} more", words.size() - kShown);
  return text;
}

std::string describe(const ModelFile& model) {
  const Preprocessing& how = model.preprocessing;
  const DataProvenance& data = model.provenance.data;
  std::string text =
      fmt::format("classes    {}: {}\n", model.classes.size(), listed(model.classes));
  text += fmt::format("images     {}x{} ({}), mean {:.4f}, std {:.4f}\n", how.width, how.height,
                      to_string(how.fit), fmt::join(how.mean, " "), fmt::join(how.std, " "));
  if (!data.train.empty())
    text += fmt::format("trained    on {} images of {}; {} to tune, {} to certify\n",
                        with_commas(static_cast<std::int64_t>(data.train.size())),
                        printable(data.source),
                        with_commas(static_cast<std::int64_t>(data.tune.size())),
                        with_commas(static_cast<std::int64_t>(data.certify.size())));
  return text;
}

int run_compiled(const Flags& flags) {
  const ModelFile model = model_or_recipe(flags.path, flags.classes);
  RuntimeOptions options;
  EngineFlags engine;
  engine.precision = flags.precision;
  // As any command would run it: the file's own check included.
  options.precision = precision_from_string(engine_for(model, engine).precision);
  if (model.deployment) options.ranges = model.deployment->ranges;
  options.batch = flags.batch;
  options.threads = flags.threads;
  const CompiledTable table = compiled_table(model.graph, model.weights, options);
  write_out(flags.json ? to_json_text(table) : to_text(table, may_color(stdout)));
  return 0;
}

int run(const Flags& flags) {
  if (flags.compiled) return run_compiled(flags);
  std::optional<ModelFile> model;
  if (!is_recipe(flags.path)) model = load_model(flags.path);
  const Graph graph = model ? model->graph : graph_of_recipe(flags.path, flags.classes);
  if (flags.json) {
    print_json(graph);
    return 0;
  }
  write_out(heading(printable(flags.path) + ": " + printable(graph.name), may_color(stdout)) +
            "\n");
  if (model) write_out(describe(*model));
  write_out("\n" + layer_table(graph));
  return 0;
}

}  // namespace

void add_info_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("info", "Print the layers, shapes, cost and exits of a model or a recipe");
  command->add_option("file", flags->path, "Model file, or recipe (.toml)")->required();
  command->add_option("--classes", flags->classes, "Of a recipe's network, which its data decide")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  CLI::Option* compiled = command->add_flag("--compiled", flags->compiled,
                                            "Print what the runtime compiles it to on this CPU");
  command->add_option("--precision", flags->precision, "f32, bf16 or int8, of --compiled")
      ->needs(compiled);
  command->add_option("--batch", flags->batch, "Images at once, of --compiled")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->needs(compiled);
  command->add_option("--threads", flags->threads, "That share an operation, of --compiled")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->needs(compiled);
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
