#include "runtime/compiled_table.h"

#include <algorithm>

#include "runtime/compile.h"
#include "runtime/workspace.h"

namespace offramp::runtime {

CompiledTable compiled_table(const graph::Graph& graph, const core::Tensors& weights,
                             const CompiledTableOptions& options) {
  CompiledTable table;
  table.batch = options.batch;
  table.threads = std::max(options.threads, 1);
  const Precision precision = usable_precision(options.precision);
  table.precision = to_string(precision);
  WeightStore store;
  const auto network = compile(graph, weights,
                               {.precision = precision,
                                .batches = {options.batch},
                                .threads = table.threads,
                                .ranges = options.ranges},
                               store);
  for (CompiledRow& row : compiled_rows(*network)) {
    CompiledTable::Row& line = table.rows.emplace_back();
    line.segment = std::move(row.segment);
    line.output = std::move(row.output);
    line.kind = std::move(row.kind);
    line.implementation = std::move(row.implementation);
    for (const Layout& src : row.srcs) line.srcs.push_back(to_string(src));
    line.dst = to_string(row.dst);
  }
  table.weight_bytes = store.bytes();
  table.workspace_bytes = Workspace(network).bytes();
  return table;
}

}  // namespace offramp::runtime
