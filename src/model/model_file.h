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
#include "model/stored_images.h"
#include "policy/chosen_policy.h"

namespace offramp::model {

/// The hashes (see image_hash) of the images that a model was trained and calibrated on, so that it
/// is never tested on the same images.
struct DataProvenance {
  std::string source;                               ///< "CIFAR-10 JPEG copy", …
  std::vector<std::uint64_t> train, tune, certify;  ///< sorted hashes
};

/// How a model was made. `details_json` is a JSON object: recipe (TOML text), seed, commit,
/// epoch, steps, precision, threads, seconds, accuracy per exit on tune, loss_weights.
struct Provenance {
  DataProvenance data;
  std::string details_json = "{}";
};

/// The content of a model file: one trained (or randomly initialised) network with everything that
/// is needed to use it. An application uses it through offramp::Model.
struct ModelFile {
  graph::Graph graph;
  core::Tensors weights;  ///< one tensor for each of parameters(graph), f32 or bf16, shapes checked
  std::vector<std::string> classes;
  core::Preprocessing preprocessing;
  /// [K] loss weights of the training, which are the weights of the "weighted" ensemble.
  std::vector<double> loss_weights;
  std::optional<policy::ChosenPolicy> policy;  ///< no value: images never stop early
  /// The number of attempts to certify made so far with the certify images, for this model or for
  /// one that it was made from.
  int certificates = 0;
  Provenance provenance;
  StoredImages stored_images;  ///< images that check a certificate which names an arithmetic
  std::optional<Deployment> deployment;  ///< no value: an f32 model that can be trained further
  /// For each weight that the file stores in 8 bits, [out] the scale of every output channel. A
  /// value is its scale times an integer from -127 to 127; `weights` holds the values.
  std::map<std::string, std::vector<float>, std::less<>> weight_scales;
};

/// Writes a model in the newest version of the format. The file is complete or not written at all.
/// @param extra  further tensors to store, such as optimiser state; their names must differ from
/// those of the parameters
/// @throws Error "<path>: …" if the model is inconsistent or the file cannot be written
void save_model(const std::filesystem::path& path, const ModelFile& model,
                const core::Tensors& extra = {});

/// Reads and checks a model: the format version, the graph, the class names, the preprocessing, and
/// for every weight that it is present, finite and of the right shape and dtype.
/// @param extra  if not null, receives the tensors that are not weights
/// @throws Error "<path>: tensor "…": shape differs from the graph: got …, expected …"
ModelFile load_model(const std::filesystem::path& path, core::Tensors* extra = nullptr);

/// A model whose weights stay in the mapped file, for callers that read each weight once.
struct MappedModel {
  ModelFile model;  ///< the model without its weights
  core::Safetensors file;

  /// Returns the values of a parameter, row-major.
  std::vector<float> weights_of(const std::string& parameter) const;
};

/// Reads and checks a model as load_model() does, but maps the file instead of copying the weights.
/// The file must not be overwritten in place while the result exists.
MappedModel map_model(const std::filesystem::path& path);

/// Returns the number of attempts to certify with the certify images of `model` that an existing
/// file, which is about to be replaced, records. Returns 0 if the file does not exist or is not a
/// model.
int recorded_attempts(const std::filesystem::path& path, const ModelFile& model);

/// Whether the file is a model rather than bare weights.
/// @throws Error if it is not a safetensors file
bool is_model_file(const std::filesystem::path& path);

/// Reads the weights of a graph from a bare state dict with torchvision names, before which may be
/// a prefix (see shape_in_file; "num_batches_tracked" is ignored, F64 becomes F32), or from a model
/// file, also with 8-bit weights. Parameters of heads that the file lacks are missing (new exits).
/// @param as_start     true if training starts from these weights. Then classifiers of another
/// number
///                     of classes are skipped. From a model file, only heads that match completely
///                     are used (see matching_heads()), and a truncated graph skips the layers of
///                     the backbone after its end
/// @param num_skipped  receives the number of tensors in the file that were skipped; may be null
/// @throws Error "<path>: …" if a parameter of the backbone is missing, or a tensor is unknown to
/// the graph, of another shape or not finite
core::Tensors load_weights(const std::filesystem::path& path, const graph::Graph& graph,
                           bool as_start = false, std::size_t* num_skipped = nullptr);

/// Writes a graph as JSON text. @throws Error if a name is not UTF-8
std::string graph_to_json(const graph::Graph& graph);
/// Reads a graph from JSON text. @throws Error naming the field
graph::Graph graph_from_json(const std::string& text);

}  // namespace offramp::model
