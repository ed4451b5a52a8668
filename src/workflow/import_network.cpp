#include "workflow/import_network.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/text.h"
#include "core/version.h"
#include "data/dataset.h"
#include "graph/cost.h"
#include "model/model_file.h"
#include "runtime/precision.h"
#include "runtime/quantize.h"
#include "workflow/output_file.h"
#include "workflow/provenance.h"
#include "workflow/quantize.h"

namespace offramp::workflow {
namespace {

/// Reads the names of the classes, one per line; empty lines at the end are ignored.
std::vector<std::string> read_labels(const std::filesystem::path& path) {
  const std::string text = core::read_text(path);
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string name = text.substr(begin, end - begin);
    if (name.ends_with('\r')) name.pop_back();
    names.push_back(std::move(name));
    begin = end + 1;
  }
  while (!names.empty() && names.back().empty()) names.pop_back();
  return names;
}

/// Throws an error of a kind unless there is a name for each class. @param source  where the names
/// are from, for the message
template <class ErrorKind>
void check_names(const std::vector<std::string>& names, std::int64_t classes,
                 const std::string& source) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i].empty() || !core::is_printable(names[i]))
      throw ErrorKind(fmt::format("{}:{}: the name of a class is empty or has control characters",
                                  source, i + 1));
  if (static_cast<std::int64_t>(names.size()) != classes)
    throw ErrorKind(
        fmt::format("{}: names {} classes, but the network has {}", source, names.size(), classes));
}

std::vector<std::string> class_names(const ImportNetworkOptions& options, std::int64_t classes) {
  std::vector<std::string> names = options.classes;
  if (!names.empty()) {
    check_names<UsageError>(names, classes, "labels");
  } else if (!options.labels.empty()) {
    names = read_labels(options.labels);
    check_names<Error>(names, classes, options.labels.string());
  } else {
    for (std::int64_t i = 0; i < classes; ++i) names.push_back(fmt::format("class {}", i));
  }
  return names;
}

std::vector<std::uint64_t> hashes_of(const data::Dataset& images,
                                     const std::vector<std::int64_t>& indices) {
  std::vector<std::uint64_t> hashes;
  for (const std::int64_t index : indices)
    hashes.push_back(images.hashes[static_cast<std::size_t>(index)]);
  std::ranges::sort(hashes);
  return hashes;
}

/// Lists the images of each split in the model.
void list_images(const data::LoadedData& loaded, const data::Splits& splits,
                 model::ModelFile& model, ImportedModel& result) {
  model::DataProvenance& data = model.provenance.data;
  data.source = loaded.source;
  data.train = hashes_of(loaded.dataset, splits.train);
  data.tune = hashes_of(loaded.dataset, splits.tune);
  data.certify = hashes_of(loaded.dataset, splits.certify);
  result.ranges = static_cast<std::int64_t>(data.train.size());
  result.tune = static_cast<std::int64_t>(data.tune.size());
  result.certify = static_cast<std::int64_t>(data.certify.size());
}

/// Makes an int8 deployment file with the ranges of the ONNX file, if these suffice.
/// @param tune  images to measure its loss on; there may be none
void quantise(const onnx::ImportedNetwork& network, const EvaluationSet& tune,
              model::ModelFile& model, ImportedModel& result) {
  model::ModelFile deployed;
  try {
    deployed = runtime::quantised_to_int8(model, network.ranges);
  } catch (const Error& error) {
    result.notes.push_back(fmt::format(
        "the ranges of the file's 8-bit tensors were left out, because int8 needs more of them: "
        "{}; `offramp quantize` makes an int8 model",
        network.ranges.empty() ? "there are none that it can use" : error.what()));
    return;
  }
  result.precision = deployed.deployment->precision;
  if (!tune.indices.empty() && runtime::has_instructions_for(runtime::Precision::int8)) {
    measure_loss(model, deployed, tune, 0);
    const model::MeasuredLoss& loss = deployed.deployment->measured;
    result.notes.push_back(fmt::format(
        "the model is int8, with the ranges of the file; on {} tune images its accuracy is {:.2f} "
        "% and in f32 {:.2f} %, and {:.2f} % of the answers are the same",
        loss.images, 100 * loss.accuracy, 100 * loss.reference_accuracy, 100 * loss.agreement));
  } else {
    result.notes.emplace_back(
        "the model is int8, with the ranges of the file; its loss was not measured, so it runs in "
        "f32 unless --precision int8 is given; import it with --data to measure it");
  }
  model = std::move(deployed);
}

/// Chooses mean and standard deviation. A normalisation inside the network is joined with them:
/// a ((p - m) / s) + b = (p - (m - b s / a)) / (s / a).
void set_normalisation(const ImportNetworkOptions& options, onnx::ImportedNetwork& network,
                       core::Preprocessing& preprocessing) {
  const bool inside = !network.input_scale.empty();
  preprocessing.mean = options.mean.value_or(inside ? std::array{0.0f, 0.0f, 0.0f} : kImageNetMean);
  preprocessing.std = options.std.value_or(inside ? std::array{1.0f, 1.0f, 1.0f} : kImageNetStd);
  if (!inside) return;
  for (std::size_t c = 0; c < 3; ++c) {
    const std::size_t channel = std::min(c, network.input_scale.size() - 1);
    const float scale = preprocessing.std[c] / network.input_scale[channel];
    preprocessing.mean[c] -= network.input_shift[channel] * scale;
    preprocessing.std[c] = scale;
  }
  network.notes.emplace_back(
      "the network normalises its input; this became the mean and std of the preprocessing");
}

}  // namespace

ImportedModel import_network(const ImportNetworkOptions& options) {
  std::vector<std::filesystem::path> inputs = {options.network};
  if (!options.labels.empty()) inputs.push_back(options.labels);
  if (!options.data.empty()) inputs.push_back(options.data);
  check_output("out", options.out, inputs);
  onnx::ImportedNetwork network = onnx::read_network(options.network, options.size);

  model::ModelFile model;
  model.graph = std::move(network.graph);
  model.weights = std::move(network.weights);
  model.classes = class_names(options, model.graph.classes);
  model.preprocessing.height = static_cast<int>(model.graph.input[1]);
  model.preprocessing.width = static_cast<int>(model.graph.input[2]);
  model.preprocessing.fit = options.fit;
  set_normalisation(options, network, model.preprocessing);
  model.loss_weights = {1};
  model.provenance.data.source = "imported from ONNX";
  const nlohmann::json details = {{"imported_from", "ONNX"},
                                  {"file", core::printable(options.network.filename().string())},
                                  {"producer", network.producer},
                                  {"opset", network.opset},
                                  {"file_hash", network.hash},
                                  {"version", core::kVersion},
                                  {"commit", core::kCommit}};
  model.provenance.details_json = core::json_text(details, -1);

  ImportedModel result;
  result.producer = network.producer;
  result.opset = network.opset;
  result.onnx_nodes = network.nodes;
  result.classes = model.graph.classes;
  result.input = {model.graph.input[0], model.graph.input[1], model.graph.input[2]};
  result.input_scale = std::move(network.input_scale);
  result.input_shift = std::move(network.input_shift);
  result.notes = std::move(network.notes);
  const graph::Cost cost = graph::cost_of(model.graph);
  result.macs = cost.plain_macs;
  result.parameters = cost.plain_parameters;
  for (const graph::Segment& segment : model.graph.segments)
    result.nodes += segment.nodes.size() + segment.head.size();
  std::optional<data::LoadedData> loaded;
  EvaluationSet tune;
  if (!options.data.empty()) {
    loaded = data::load_data(options.data, data::Part::train, load_options(model));
    check_same_classes(model, loaded->dataset);
    const data::Splits splits = data::split_training(loaded->dataset, options.split_seed);
    list_images(*loaded, splits, model, result);
    tune = {&loaded->dataset, splits.tune, &model.preprocessing};
  }
  if (network.is_quantised) quantise(network, tune, model, result);
  model::save_model(options.out, model);
  return result;
}

}  // namespace offramp::workflow
