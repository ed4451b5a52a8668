#include <cstdio>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/import_output.h"
#include "cli/number_list.h"
#include "cli/source_flags.h"
#include "cli/terminal.h"
#include "workflow/import_network.h"

namespace offramp::cli {
namespace {

struct Flags {
  workflow::ImportNetworkOptions options;
  std::string network, out, image_size, fit = "crop", mean, std, labels;
  bool json = false;
};

int run(const Flags& flags) {
  workflow::ImportNetworkOptions options = flags.options;
  options.network = flags.network;
  options.out = flags.out;
  options.labels = flags.labels;
  options.fit = core::fit_from_string(flags.fit);
  if (!flags.image_size.empty()) {
    const ImageSize size = parse_image_size(flags.image_size);
    options.size = onnx::ImageSize{.height = size.height, .width = size.width};
  }
  if (!flags.mean.empty()) options.mean = three_numbers("--mean", flags.mean);
  if (!flags.std.empty()) options.std = three_numbers("--std", flags.std);
  const workflow::ImportedModel result =
      translate_option_errors([&] { return workflow::import_network(options); });
  write_stdout(flags.json ? to_json_text(options, result)
                          : to_text(options, result, may_color(stdout)));
  return 0;
}

}  // namespace

void add_import_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "import", "Make a model file of a trained network in ONNX, without any training");
  command->add_option("network", flags->network, "ONNX file")->required();
  command->add_option("-o,--out", flags->out, "The model file")->required();
  command->add_option("--image-size", flags->image_size,
                      "Size of its images, 224 or 320x240 (width x height), where the ONNX file "
                      "leaves it open");
  command
      ->add_option("--fit", flags->fit,
                   "How images are resized: crop (keep the aspect ratio, cut out the centre) or "
                   "squeeze")
      ->capture_default_str();
  command->add_option("--mean", flags->mean,
                      "Mean of each channel of pixels in [0, 1], red,green,blue (default: "
                      "0.485,0.456,0.406, ImageNet's)");
  command->add_option("--std", flags->std,
                      "Standard deviation of each channel (default: 0.229,0.224,0.225)");
  command->add_option("--labels", flags->labels,
                      "Text file with the name of a class on each line (default: class 0, …)");
  command->add_option(
      "--data", flags->options.data,
      "A data set that the network was not trained on, for `calibrate` and `quantize`: its "
      "training part is divided into images for ranges, tune and certify");
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
