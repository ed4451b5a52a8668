#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/preprocessing.h"
#include "core/safetensors.h"
#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"
#include "model/format.h"
#include "policy/chosen_policy.h"

namespace offramp {

/// Which images a model has met, by hash (see image_hash), so that it is never tested on them.
struct DataProvenance {
  std::string source;                               ///< "CIFAR-10 JPEG copy", …
  std::vector<std::uint64_t> train, tune, certify;  ///< sorted
};

/// How a model came to be. `details_json` is a JSON object: recipe (TOML text), seed, commit,
/// epoch, steps, precision, threads, seconds, accuracy per exit on tune, loss_weights.
struct Provenance {
  DataProvenance data;
  std::string details_json = "{}";
};

/// What a model file holds: one trained (or randomly initialised) network with all that is needed
/// to use it. (offramp::Model is what an application makes of one.)
struct ModelFile {
  Graph graph;
  Tensors weights;  ///< one tensor for each of parameters(graph), f32 or bf16, shapes checked
  std::vector<std::string> classes;
  Preprocessing preprocessing;
  std::vector<double> loss_weights;    ///< [K] of training; the weights of the "weighted" ensemble
  std::optional<ChosenPolicy> policy;  ///< when to stop; none: never early
  int certificates = 0;  ///< drawn so far from the certify images, by it or what it was made of
  Provenance provenance;
  std::optional<Deployment> deployment;  ///< none: a model to train and to measure from
  /// [out] By weight that the file holds in 8 bits: its value is scale × an integer of -127 … 127,
  /// one scale per output channel. `weights` holds the values.
  std::map<std::string, std::vector<float>, std::less<>> weight_scales;
};

/// Writes a model in one step, in the newest version of the format. Extra tensors (optimiser state)
/// go beside the weights; their names must not be a parameter's.
void save_model(const std::filesystem::path& path, const ModelFile& model,
                const Tensors& extra = {});

/// Reads and checks a model: format version, graph, every weight's presence, shape, dtype and
/// finiteness, class names, preprocessing. @throws Error "<path>: tensor "…": shape differs from
/// the graph: got …, expected …"
/// @param extra  if not null, receives the tensors that are not weights
ModelFile load_model(const std::filesystem::path& path, Tensors* extra = nullptr);

/// A model whose weights stay in its file: for those who look at each once.
struct MappedModel {
  ModelFile model;  ///< without weights
  Safetensors file;

  /// The values of a parameter, in the order of its shape.
  std::vector<float> weights_of(const std::string& parameter) const;
};

/// As load_model, all checks included, without a copy of the weights: the file is mapped, and
/// must not be written over in place while this lives.
MappedModel map_model(const std::filesystem::path& path);

/// How many certificates a file that is to be replaced knows of, if they were drawn from the images
/// that `model` certifies on; 0 if it is no model, or is not there.
int certificates_drawn(const std::filesystem::path& path, const ModelFile& model);

/// True if the file is a model rather than bare weights. @throws Error if it is not safetensors
bool is_model_file(const std::filesystem::path& path);

/// Reads a bare state dict (torchvision names; "num_batches_tracked" ignored; F64 becomes F32) into
/// the weights of a graph. A model file is accepted as well, one with integers too. Head parameters
/// that the file lacks are left out of the result (new exits).
/// @param as_start     what a training may begin with: also left out are classifiers of another
///                     number of classes, and of a model file the heads that do not fit whole
///                     (`matching_heads`); its other heads are passed over, and its backbone beyond
///                     the end of a truncated one
/// @param passed_over  gets the number of the file's tensors that were; may be null
/// @throws Error "<path>: …" if a parameter of the backbone is missing, or a tensor is unknown to
/// the graph, of another shape or not finite
Tensors load_weights(const std::filesystem::path& path, const Graph& graph, bool as_start = false,
                     std::size_t* passed_over = nullptr);

/// Graph as JSON text and back. @throws Error naming the field
std::string graph_to_json(const Graph& graph);
Graph graph_from_json(const std::string& text);

}  // namespace offramp
