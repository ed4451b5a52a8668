#include "model/model_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/numbers.h"
#include "core/overloaded.h"
#include "core/safetensors.h"
#include "core/tensor.h"
#include "graph/cost.h"
#include "model/backbone_options.h"
#include "model/json_reader.h"
#include "model/matching_heads.h"
#include "model/policy_json.h"
#include "model/stored_weights.h"

namespace offramp::model {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxClasses = 65536;
// The largest size of a class name. Class names are often names of folders, of at most 255 bytes.
constexpr std::size_t kMaxNameBytes = 1000;
constexpr int kMaxCertificates = 1'000'000;
constexpr std::string_view kProvenancePrefix = "provenance.";
constexpr std::array<std::pair<std::string_view, std::vector<std::uint64_t> DataProvenance::*>, 3>
    kSplits = {{{"provenance.train", &DataProvenance::train},
                {"provenance.tune", &DataProvenance::tune},
                {"provenance.certify", &DataProvenance::certify}}};

/// Runs `work` and puts `place` in front of the message of an Error that it throws.
template <typename Work>
auto at_place(std::string_view place, Work&& work) {
  try {
    return work();
  } catch (const Error& error) {
    core::throw_with_place(place, error);
  }
}

/// The work for an image besides the multiply-accumulates that the cost counts.
struct OtherWork {
  /// Number of values read by pools and operations on single elements. Slow operations count
  /// several times.
  double values = 0;
  double windows = 0;  ///< rows and columns of the outputs of all pools, for which tables are kept
};

OtherWork other_work(const graph::Graph& graph) {
  // Weight of an operation that computes an exponential or passes over the channels several times.
  constexpr double kFunction = 4;
  const auto shapes = graph::infer_shapes(graph);
  OtherWork sum;
  const auto add = [&](const graph::Node& node) {
    const graph::Shape& out = shapes.find(node.name)->second;
    const auto values = static_cast<double>(core::element_count(out));
    const auto add_windows = [&] { sum.windows += static_cast<double>(out[1] + out[2]); };
    std::visit(
        core::overloaded{
            [&](const core::OneOf<graph::MaxPool, graph::AvgPool> auto& pool) {
              sum.values += values * pool.kernel.h * pool.kernel.w;
              add_windows();
            },
            [&](const graph::AdaptiveAvgPool& pool) {
              // A bin has one row and one column more than its share of the input, rounded down, at
              // most two more.
              const graph::Shape& in = shapes.find(node.inputs[0])->second;
              const std::int64_t height = in[1] / pool.grid.h + 2, width = in[2] / pool.grid.w + 2;
              sum.values += values * static_cast<double>(height * width);
              add_windows();
            },
            [&](const core::OneOf<graph::Sigmoid, graph::Silu, graph::Gelu,
                                  graph::LayerNorm> auto&) { sum.values += kFunction * values; },
            [&](const core::OneOf<graph::Relu, graph::Relu6, graph::Clip, graph::HardSigmoid,
                                  graph::HardSwish, graph::BatchNorm, graph::Add, graph::Multiply,
                                  graph::Concat, graph::Slice, graph::ChannelShuffle> auto&) {
              sum.values += values;
            },
            // The cost counts these, or they read each value of another operation's output once.
            [](const core::OneOf<graph::Conv, graph::Linear, graph::GlobalAvgPool,
                                 graph::SpatialPyramidPool, graph::Flatten> auto&) {},
        },
        node.op);
  };
  for (const graph::Segment& segment : graph.segments) {
    for (const graph::Node& node : segment.nodes) add(node);
    for (const graph::Node& node : segment.head) add(node);
  }
  return sum;
}

/// Refuses a network that one image would keep busy for minutes, or whose tables take gigabytes. A
/// file of a kilobyte can describe one. The largest published convolutional classifiers need about
/// 5e11 multiply-accumulates.
void check_work(const graph::Graph& graph) {
  constexpr double kMaxMacs = 2e12, kMaxValues = 2e10, kMaxWindows = 1e7;
  const auto macs = static_cast<double>(graph::cost_of(graph).exit_macs.back());
  if (macs > kMaxMacs)
    throw Error(fmt::format("an image takes {:.2g} multiply-accumulates, at most {:g} are allowed",
                            macs, kMaxMacs));
  const OtherWork other = other_work(graph);
  if (other.values > kMaxValues)
    throw Error(
        fmt::format("pools and operations on elements read {:.2g} values for an image, at most "
                    "{:g} are allowed",
                    other.values, kMaxValues));
  if (other.windows > kMaxWindows)
    throw Error(
        fmt::format("the outputs of all pools have {:.2g} rows and columns, at most {:g} "
                    "are allowed",
                    other.windows, kMaxWindows));
}

/// Returns the parameters of a graph after checking it: its shapes must match, and an image must
/// not take too many operations.
std::vector<graph::Parameter> parameters_of(const graph::Graph& graph) {
  return at_place("graph", [&] {
    check_work(graph);
    return graph::parameters(graph);
  });
}

// The parts of the metadata. Each check is used for both writing and reading.

void check_classes(const std::vector<std::string>& classes, const graph::Graph& graph) {
  if (classes.size() != static_cast<std::size_t>(graph.classes))
    throw Error(fmt::format("classes: got {} names, but the graph has {} classes", classes.size(),
                            graph.classes));
  std::set<std::string_view> seen;
  for (const std::string& name : classes)
    if (!seen.insert(name).second)
      throw Error(fmt::format("classes: {} appears twice", core::quote(name)));
}

void check_preprocessing(const core::Preprocessing& preprocessing, const graph::Graph& graph) {
  if (graph.input.size() != 3 || preprocessing.height != graph.input[1] ||
      preprocessing.width != graph.input[2])
    throw Error(fmt::format("preprocessing: makes images of {}x{}, but the graph's input is {}",
                            preprocessing.height, preprocessing.width,
                            core::to_string(graph.input)));
  for (float value : preprocessing.mean)
    if (!std::isfinite(value))
      throw Error(fmt::format("preprocessing: mean {} is not finite", value));
  for (float value : preprocessing.std)
    if (!std::isfinite(value) || !(value > 0))
      throw Error(fmt::format("preprocessing: std {} is not a finite number above 0", value));
}

void check_loss_weights(const std::vector<double>& weights, const graph::Graph& graph) {
  const std::size_t exits = graph::exit_segments(graph).size();
  if (weights.size() != exits)
    throw Error(fmt::format("provenance: got {} loss_weights, expected {}: one for each exit",
                            weights.size(), exits));
  for (double weight : weights)
    if (!std::isfinite(weight) || weight < 0)
      throw Error(
          fmt::format("provenance: loss weight {} is not a finite number of at least 0", weight));
}

Json short_numbers(const std::array<float, 3>& values) {
  Json result = Json::array();
  for (const float value : values) result.push_back(core::shortest_decimal(value));
  return result;
}

std::array<float, 3> three_floats(JsonFields& fields, std::string_view key) {
  const auto values = fields.numbers(key, -1e6, 1e6, 3);
  if (values.size() != 3)
    throw Error(fmt::format("{}: {} values, expected 3", fields.place_of(key), values.size()));
  return {static_cast<float>(values[0]), static_cast<float>(values[1]),
          static_cast<float>(values[2])};
}

std::vector<std::string> read_classes(const std::string& text) {
  return read_texts(parse_json(text), "names", kMaxClasses, kMaxNameBytes);
}

Json to_json(const core::Preprocessing& preprocessing) {
  return {{"height", preprocessing.height},
          {"width", preprocessing.width},
          {"fit", core::to_string(preprocessing.fit)},
          {"mean", short_numbers(preprocessing.mean)},
          {"std", short_numbers(preprocessing.std)}};
}

core::Preprocessing read_preprocessing(const Json& json) {
  JsonFields fields(json, "");
  core::Preprocessing preprocessing;
  preprocessing.height = static_cast<int>(fields.integer("height", 1, 65536));
  preprocessing.width = static_cast<int>(fields.integer("width", 1, 65536));
  const std::string fit = fields.text("fit");
  try {
    preprocessing.fit = core::fit_from_string(fit);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", fields.place_of("fit"), error.what()));
  }
  preprocessing.mean = three_floats(fields, "mean");
  preprocessing.std = three_floats(fields, "std");
  fields.finish();
  return preprocessing;
}

void read_provenance(const Json& json, ModelFile& model) {
  JsonFields fields(json, "");
  model.provenance.data.source = fields.text("source", 10'000);
  model.loss_weights = fields.numbers("loss_weights", 0, 1e9, 10'000);
  model.provenance.details_json = fields.object("details").dump();
  fields.finish();
}

int read_certificates(const std::string& text) {
  const auto count = core::parse_number<int>(text);
  if (!count || *count < 0 || *count > kMaxCertificates)
    throw Error(fmt::format("got {}, expected a whole number from 0 to {}", core::quote(text),
                            kMaxCertificates));
  return *count;
}

std::vector<std::uint64_t> read_hashes(const core::Safetensors& file, std::string_view name) {
  const core::TensorView& view = file.at(name);
  if (view.dtype != core::DType::u64 || view.shape.size() != 1)
    throw Error(fmt::format("{}: got {} {}, expected U64 of one dimension", place_of(name),
                            core::to_string(view.dtype), core::to_string(view.shape)));
  const core::HostTensor tensor = view.copy();
  const auto values = tensor.as<std::uint64_t>();
  if (!std::ranges::is_sorted(values))
    throw Error(fmt::format("{}: hashes are not sorted", place_of(name)));
  return {values.begin(), values.end()};
}

/// Parses one key of the metadata. Error messages begin with the key.
template <typename Read>
auto read_metadata(const core::Safetensors& file, std::string_view key, Read&& read) {
  return at_place(key, [&] {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end()) throw Error("missing in the metadata");
    return read(found->second);
  });
}

/// Returns the format version of a file. @throws Error if it is not a model that can be read
int check_version(const core::Safetensors& file) {
  if (is_model(file.metadata())) return read_format_version(file.metadata());
  if (file.tensors().empty()) throw Error("not a model file: it holds no tensors");
  throw Error(
      "not a model file: bare weights without a network; `offramp train --from FILE` starts "
      "from such weights");
}

graph::Graph read_graph(const core::Safetensors& file) {
  return read_metadata(file, "graph",
                       [](const std::string& text) { return graph_from_json(text); });
}

/// Opens a safetensors file. A file written by Python's torch.save, and an ONNX file, get messages
/// of their own.
core::Safetensors open_weights(const fs::path& path) {
  try {
    return core::Safetensors::open(path);
  } catch (const Error&) {
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) throw;  // opening a pipe would wait
    if (path.extension() == ".onnx")
      throw Error(fmt::format(
          "{}: an ONNX file, not a model file; make one with \"offramp import {} -o {}\"",
          path.string(), path.filename().string(),
          fs::path(path.filename()).replace_extension(".safetensors").string()));
    std::array<char, 4> magic{};
    std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
    const std::string_view start(magic.data(), magic.size());
    if (start.starts_with("PK") || start.starts_with("\x80\x02"))
      throw Error(fmt::format(
          "{}: written by torch.save, not a safetensors file; convert it in Python with "
          "safetensors.torch.save_file(torch.load(\"{}\", weights_only=True), \"{}\")",
          path.string(), path.filename().string(),
          fs::path(path.filename()).replace_extension(".safetensors").string()));
    throw;
  }
}

/// Removes the words that wrappers (DataParallel, Lightning, torch.compile) put before the names of
/// all parameters: "module.model." becomes "".
std::string_view without_wrappers(std::string_view prefix) {
  constexpr std::array<std::string_view, 6> kWrappers = {"module.", "model.",   "_orig_mod.",
                                                         "net.",    "network.", "backbone."};
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view word : kWrappers) {
      if (!prefix.starts_with(word)) continue;
      prefix.remove_prefix(word.size());
      found = true;
    }
  }
  return prefix;
}

/// Returns what stands before the name of `parameter` in a bare state dict: empty, or the words of
/// wrappers. Empty if the file has no such tensor.
std::string prefix_of(const core::Safetensors& file, const std::string& parameter) {
  if (file.tensors().contains(parameter)) return {};
  for (const auto& [name, view] : file.tensors()) {
    if (!name.ends_with(parameter)) continue;
    std::string prefix = name.substr(0, name.size() - parameter.size());
    if (without_wrappers(prefix).empty()) return prefix;
  }
  return {};
}

/// Reads everything of a model except its weights.
ModelFile read_description(const core::Safetensors& file) {
  const int version = check_version(file);
  ModelFile model;
  model.graph = read_graph(file);
  parameters_of(model.graph);
  model.classes =
      read_metadata(file, "classes", [](const std::string& text) { return read_classes(text); });
  check_classes(model.classes, model.graph);
  model.preprocessing = read_metadata(file, "preprocessing", [](const std::string& text) {
    return read_preprocessing(parse_json(text));
  });
  check_preprocessing(model.preprocessing, model.graph);
  read_metadata(file, "provenance",
                [&](const std::string& text) { read_provenance(parse_json(text), model); });
  check_loss_weights(model.loss_weights, model.graph);
  const int exits = static_cast<int>(graph::exit_segments(model.graph).size());
  if (file.metadata().contains("policy"))
    model.policy = read_metadata(file, "policy", [&](const std::string& text) {
      return policy_from_json(text, exits, version);
    });
  if (file.metadata().contains("certificates"))
    model.certificates = read_metadata(file, "certificates", read_certificates);
  if (file.metadata().contains("deployment"))
    model.deployment = read_metadata(file, "deployment", deployment_from_json);
  for (const auto& [name, member] : kSplits)
    model.provenance.data.*member = read_hashes(file, name);
  model.stored_images = read_stored_images(file, model);
  for (const graph::Parameter& parameter : parameters_of(model.graph))
    if (const auto found = file.tensors().find(parameter.name);
        found != file.tensors().end() && found->second.dtype == core::DType::i8) {
      check_integers(found->second, parameter);
      model.weight_scales.emplace(parameter.name, read_scales(file, parameter));
      file.drop_pages(found->second);
    }
  return model;
}

bool is_scale(const std::string& tensor, const ModelFile& model) {
  return tensor.ends_with(kScaleSuffix) &&
         model.weight_scales.contains(tensor.substr(0, tensor.size() - kScaleSuffix.size()));
}

ModelFile read_model(const core::Safetensors& file, core::Tensors* extra) {
  ModelFile model = read_description(file);
  for (const graph::Parameter& parameter : parameters_of(model.graph)) {
    const core::TensorView& view = file.at(parameter.name);
    // The shape is checked before the copy, because a wrong shape may be very large.
    check_shape(view.shape, parameter);
    const auto scales = model.weight_scales.find(parameter.name);
    core::HostTensor tensor =
        scales == model.weight_scales.end()
            ? view.copy()
            : core::HostTensor::of(view.shape, dequantise(view.bytes, scales->second));
    check_weight(tensor, parameter);
    model.weights.emplace(parameter.name, std::move(tensor));
  }
  if (extra != nullptr) {
    extra->clear();
    for (const auto& [name, view] : file.tensors())
      if (!model.weights.contains(name) && !name.starts_with(kProvenancePrefix) &&
          name != kStoredPixelsTensor && name != kStoredLogitsTensor && !is_scale(name, model))
        extra->emplace(name, view.copy());
  }
  return model;
}

Json details_of(const Provenance& provenance) {
  return at_place("provenance.details", [&] {
    Json details = parse_json(provenance.details_json);
    if (!details.is_object()) throw Error("not a JSON object");
    return details;
  });
}

core::Tensors tensors_to_write(const ModelFile& model, const core::Tensors& extra) {
  core::Tensors tensors;
  for (const graph::Parameter& parameter : parameters_of(model.graph)) {
    const auto found = model.weights.find(parameter.name);
    if (found == model.weights.end())
      throw Error(fmt::format("{} is missing", place_of(parameter.name)));
    check_weight(found->second, parameter);
    const auto scales = model.weight_scales.find(parameter.name);
    if (scales == model.weight_scales.end()) {
      tensors.insert(*found);
      continue;
    }
    core::HostTensor integers = quantise_weight(found->second, scales->second, parameter.name);
    check_integers({integers.dtype, integers.shape, integers.bytes}, parameter);
    tensors.emplace(parameter.name, std::move(integers));
    tensors.emplace(parameter.name + std::string(kScaleSuffix),
                    core::HostTensor::of({parameter.shape[0]}, scales->second));
  }
  for (const auto& [name, scales] : model.weight_scales)
    if (!tensors.contains(name))
      throw Error(fmt::format("{}: not a parameter of the graph", place_of(name)));
  for (const auto& [name, tensor] : model.weights)
    if (!tensors.contains(name))
      throw Error(fmt::format("{}: not a parameter of the graph", place_of(name)));
  for (const auto& [name, member] : kSplits) {
    std::vector<std::uint64_t> hashes = model.provenance.data.*member;
    std::ranges::sort(hashes);
    tensors.emplace(name, core::HostTensor::of({static_cast<std::int64_t>(hashes.size())},
                                               std::span<const std::uint64_t>(hashes)));
  }
  write_stored_images(model, tensors);
  for (const auto& [name, tensor] : extra)
    if (name.starts_with(kProvenancePrefix) || !tensors.emplace(name, tensor).second)
      throw Error(
          fmt::format("{}: an extra tensor has the name of a tensor of the model", place_of(name)));
  return tensors;
}

}  // namespace

void save_model(const fs::path& path, const ModelFile& model, const core::Tensors& extra) {
  at_place(path.string(), [&] {
    check_classes(model.classes, model.graph);
    check_preprocessing(model.preprocessing, model.graph);
    check_loss_weights(model.loss_weights, model.graph);
    check_stored_images(model);
  });
  const core::Tensors tensors =
      at_place(path.string(), [&] { return tensors_to_write(model, extra); });
  const core::Metadata metadata = at_place(path.string(), [&]() -> core::Metadata {
    const Json provenance = {{"source", model.provenance.data.source},
                             {"loss_weights", model.loss_weights},
                             {"details", details_of(model.provenance)}};
    core::Metadata texts;
    try {
      texts = {{"format_version", std::to_string(kModelFormatVersion)},
               {"requires", Json(required_features(model)).dump()},
               {"graph", graph_to_json(model.graph)},
               {"classes", Json(model.classes).dump()},
               {"preprocessing", to_json(model.preprocessing).dump()},
               {"provenance", provenance.dump()}};
      if (model.policy) texts.emplace("policy", policy_to_json(*model.policy));
      if (model.deployment) texts.emplace("deployment", deployment_to_json(*model.deployment));
      if (model.certificates != 0)
        texts.emplace("certificates", std::to_string(model.certificates));
    } catch (const Json::exception&) {
      throw Error("a class name, the provenance or the policy is not UTF-8");
    }
    // The texts are parsed again, so that no model is written that could not be read. A training
    // run writes a model at its start, so it fails there and not at its end.
    ModelFile reread;
    at_place("graph", [&] { graph_from_json(texts.at("graph")); });
    at_place("classes", [&] { read_classes(texts.at("classes")); });
    at_place("preprocessing", [&] { read_preprocessing(parse_json(texts.at("preprocessing"))); });
    at_place("provenance", [&] { read_provenance(parse_json(texts.at("provenance")), reread); });
    if (texts.contains("certificates"))
      at_place("certificates", [&] { read_certificates(texts.at("certificates")); });
    if (model.deployment)
      at_place("deployment", [&] { deployment_from_json(texts.at("deployment")); });
    if (model.policy)
      at_place("policy", [&] {
        policy_from_json(texts.at("policy"),
                         static_cast<int>(graph::exit_segments(model.graph).size()));
      });
    return texts;
  });
  core::write_safetensors(path, metadata, tensors);
}

ModelFile load_model(const fs::path& path, core::Tensors* extra) {
  const core::Safetensors file = open_weights(path);
  return at_place(path.string(), [&] { return read_model(file, extra); });
}

MappedModel map_model(const fs::path& path) {
  core::Safetensors file = open_weights(path);
  return at_place(path.string(), [&] {
    ModelFile model = read_description(file);
    for (const graph::Parameter& parameter : parameters_of(model.graph)) {
      const core::TensorView& view = file.at(parameter.name);
      // The same checks as in load_model(), in the same order.
      check_shape(view.shape, parameter);
      if (!model.weight_scales.contains(parameter.name)) check_weight(view, parameter);
      file.drop_pages(view);
    }
    return MappedModel{std::move(model), std::move(file)};
  });
}

std::vector<float> MappedModel::weights_of(const std::string& parameter) const {
  const core::TensorView& view = file.at(parameter);
  const auto scales = model.weight_scales.find(parameter);
  std::vector<float> values =
      scales == model.weight_scales.end() ? view.to_f32() : dequantise(view.bytes, scales->second);
  file.drop_pages(view);
  return values;
}

int recorded_attempts(const std::filesystem::path& path, const ModelFile& model) {
  if (!std::filesystem::exists(path)) return 0;
  try {
    const ModelFile other = map_model(path).model;
    return other.provenance.data.certify == model.provenance.data.certify ? other.certificates : 0;
  } catch (const Error&) {
    return 0;
  }
}

bool is_model_file(const fs::path& path) { return is_model(open_weights(path).metadata()); }

std::vector<std::int64_t> shape_in_file(const fs::path& path, const std::string& parameter) {
  const core::Safetensors file = open_weights(path);
  const auto found = file.tensors().find(prefix_of(file, parameter) + parameter);
  return found == file.tensors().end() ? std::vector<std::int64_t>{} : found->second.shape;
}

core::Tensors load_weights(const fs::path& path, const graph::Graph& graph, bool as_start,
                           std::size_t* num_skipped) {
  const core::Safetensors file = open_weights(path);
  return at_place(path.string(), [&] {
    const bool model = is_model(file.metadata());
    // Other tensors of a model file, such as optimiser state and hashes, are not weights.
    std::set<std::string, std::less<>> considered, skippable;
    std::map<std::string, std::string> matching;
    std::string prefix;
    if (model) {
      check_version(file);
      const graph::Graph theirs = read_graph(file);
      for (const graph::Parameter& parameter : parameters_of(theirs)) {
        considered.insert(parameter.name);
        if (parameter.in_head) skippable.insert(parameter.name);
      }
      matching = matching_heads(graph, theirs);
      skippable.merge(parameters_after_end(graph, theirs));
    } else {
      prefix = prefix_of(file, parameters_of(graph).front().name);
      for (const auto& [name, view] : file.tensors())
        if (!name.ends_with("num_batches_tracked"))
          considered.insert(name.starts_with(prefix) ? name.substr(prefix.size()) : name);
    }

    core::Tensors weights;
    for (const graph::Parameter& parameter : parameters_of(graph)) {
      graph::Parameter stored = parameter;
      if (model && as_start && parameter.in_head) {
        const auto match = matching.find(parameter.name);
        if (match == matching.end()) continue;
        stored.name = match->second;
      }
      const bool present = considered.erase(stored.name) > 0;
      if (!present) {
        if (parameter.in_head) continue;
        throw Error(fmt::format("{} is missing: are these the weights of another network than {}?",
                                place_of(parameter.name), core::quote(graph.name)));
      }
      const core::TensorView& view = file.at(prefix + stored.name);
      const bool classifier =
          parameter.in_head && (parameter.role == graph::ParameterRole::bias ||
                                parameter.role == graph::ParameterRole::linear_weight);
      if (as_start && classifier && !view.shape.empty() && view.shape[0] != parameter.shape[0])
        continue;  // the classifier has another number of classes
      check_shape(view.shape, stored);
      core::HostTensor tensor;
      if (model && view.dtype == core::DType::i8) {
        check_integers(view, stored);
        tensor = core::HostTensor::of(
            view.shape, std::span<const float>(dequantise(view.bytes, read_scales(file, stored))));
      } else {
        tensor = view.copy();
        if (tensor.dtype == core::DType::f64)
          tensor = core::HostTensor::of(tensor.shape, std::span<const float>(tensor.to_f32()));
      }
      check_weight(tensor, stored);
      weights.emplace(parameter.name, std::move(tensor));
    }
    const std::size_t before = considered.size();
    if (as_start)
      std::erase_if(considered, [&](const auto& name) { return skippable.contains(name); });
    if (num_skipped != nullptr) *num_skipped = before - considered.size();
    if (!considered.empty())
      throw Error(fmt::format("{}: the network {} has no such parameter",
                              place_of(*considered.begin()), core::quote(graph.name)));
    return weights;
  });
}

}  // namespace offramp::model
