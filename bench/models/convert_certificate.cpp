// Makes the certificate of an int8 deployment file name the arithmetic instead of oneDNN's
// instruction set, so that it is in force on every CPU that computes the same logits. The policy,
// the images and the level stay; every count is computed again and must equal the stored one, so
// this is no new attempt. Needs a CPU with AVX-512 VNNI and the data set of the certificate:
//
//   grep -c avx512_vnni /proc/cpuinfo          # must not print 0
//   cmake --preset release -DOFFRAMP_BENCH=ON
//   cmake --build --preset release --target convert_certificate
//   for model in models/*.safetensors; do
//     build/release/bench/convert_certificate $model --data data --images IMAGES
//   done
//   bench/models/int8_caps.py models/*.safetensors --data data   # equal under every cap?
//
// IMAGES is a data set whose images may be given away: for the files in models/ Fashion-MNIST,
// /usr/share/datasets/fashion-mnist, because CIFAR-10's may not.
// The file is written in the newest version of the format. Afterwards adapt the model card, which
// names the kernels, and the size in models/README.md.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "workflow/stored_images.h"

int main(int argc, char** argv) {
  using namespace offramp;
  workflow::ConvertOptions options;
  std::string model, out;
  CLI::App app("Makes the certificate of an int8 file name the arithmetic");
  app.add_option("model", model, "Deployment file in int8")->required();
  app.add_option("--data", options.data, "The data set that it was certified on")->required();
  app.add_option("--images", options.images,
                 "Data set; 64 images of its test part are stored in the file")
      ->required();
  app.add_option("--out", out, "The converted file (default: the model itself)");
  CLI11_PARSE(app, argc, argv);
  options.model = model;
  options.out = out.empty() ? model : out;
  try {
    const workflow::Converted result = workflow::convert_certificate(options);
    fmt::print("{}: {} of {} certify images counted, as in the certificate", options.model.string(),
               result.counted, result.certify);
    if (result.steps > 0) fmt::print("; {} steps of the path too", result.steps);
    fmt::print("; {} images stored; written to {}\n", result.stored, options.out.string());
  } catch (const std::exception& error) {
    fmt::print(stderr, "convert_certificate: {}\n", error.what());
    return 1;
  }
  return 0;
}
