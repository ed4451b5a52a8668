#include "workflow/model_info.h"

#include "core/parallel.h"
#include "graph/cost.h"
#include "graph/layer_table.h"
#include "runtime/kernels_name.h"
#include "workflow/evaluate.h"
#include "workflow/model_or_recipe.h"

namespace offramp::workflow {
namespace {

ModelFacts facts_of(const model::ModelFile& model) {
  const model::DataProvenance& data = model.provenance.data;
  return {model.classes,
          model.preprocessing,
          data.source,
          static_cast<std::int64_t>(data.train.size()),
          static_cast<std::int64_t>(data.tune.size()),
          static_cast<std::int64_t>(data.certify.size())};
}

}  // namespace

std::string kernels_on_this_cpu() { return runtime::kernels_name(); }

ModelInfo describe_model(const std::string& path, std::int64_t classes) {
  ModelInfo info;
  graph::Graph graph;
  if (is_recipe(path)) {
    graph = graph_of_recipe(path, classes);
  } else {
    const model::MappedModel mapped = model::map_model(path);
    info.facts = facts_of(mapped.model);
    graph = mapped.model.graph;
  }
  const graph::Cost cost = graph::cost_of(graph);
  info.network = graph.name;
  info.macs = cost.plain_macs;
  info.parameters = cost.total_parameters();
  for (std::size_t k = 0; k < cost.exit_macs.size(); ++k) {
    const int exit_index = static_cast<int>(k);
    info.exits.push_back({exit_index + 1, unit_before_exit(graph, exit_index), cost.exit_macs[k],
                          cost.relative(exit_index)});
  }
  info.layers = graph::layer_table(graph);
  return info;
}

CompiledLayers compiled_layers(const std::string& path, std::int64_t classes, int batch,
                               const RunOptions& options, const Progress& progress) {
  const model::ModelFile model = model_or_recipe(path, classes);
  // The model is opened as by other commands, because this chooses the precision that it runs in.
  const auto opened = open_model(model, options, progress);
  runtime::CompiledTableOptions compiling;
  compiling.precision = opened->precision();
  if (model.deployment) compiling.ranges = model.deployment->ranges;
  compiling.batch = batch;
  compiling.threads = options.threads > 0 ? options.threads : core::usable_cores();
  return {runtime::compiled_table(model.graph, model.weights, compiling), opened->kernels()};
}

}  // namespace offramp::workflow
