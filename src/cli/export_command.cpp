#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/text.h"
#include "workflow/export_network.h"
#include "workflow/run_folder.h"

namespace offramp::cli {
namespace {

struct Flags {
  std::string model, out, form = "conditional", precision = "auto";
  bool json = false;
};

int run(const Flags& flags) {
  workflow::ExportNetworkOptions options;
  options.model = workflow::model_path(flags.model);
  options.out = flags.out;
  options.form = onnx::form_from_string(flags.form);
  options.precision = flags.precision;
  const workflow::ExportedNetwork result =
      translate_option_errors([&] { return workflow::export_network(options); });
  if (flags.json) {
    write_stdout(json_text(nlohmann::ordered_json{{"model", options.model.string()},
                                                  {"written_to", options.out.string()},
                                                  {"form", flags.form},
                                                  {"precision", result.precision},
                                                  {"exits", result.exits},
                                                  {"bytes", result.bytes}}));
  } else {
    write_stdout(fmt::format("{}: {}, {}, {} {}, {}\n", printable(options.out.string()), flags.form,
                             result.precision, result.exits, result.exits == 1 ? "exit" : "exits",
                             core::megabytes(result.bytes)));
  }
  return 0;
}

}  // namespace

void add_export_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("export", "Write a model as an ONNX file, for ONNX Runtime");
  command->add_option("model", flags->model, "Model file or run folder")->required();
  command->add_option("-o,--out", flags->out, "The ONNX file")->required();
  command
      ->add_option("--form", flags->form,
                   "conditional (stops by the model's policy, one image at a time), all-exits (the "
                   "logits of every exit) or plain (those of the last exit)")
      ->capture_default_str();
  command
      ->add_option("--precision", flags->precision,
                   "f32, int8 (only for a file written by quantize; with QuantizeLinear and "
                   "DequantizeLinear) or auto (int8 for an int8 file, else f32)")
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
