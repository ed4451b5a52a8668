#include "workflow/export_network.h"

#include <string>

#include "core/error.h"
#include "core/file.h"
#include "model/model_file.h"
#include "workflow/output_file.h"

namespace offramp::workflow {

ExportedNetwork export_network(const ExportNetworkOptions& options) {
  check_output("out", options.out, {options.model});
  const model::ModelFile model = model::load_model(options.model);
  std::string bytes;
  try {
    bytes = onnx::network_as_onnx(model, options.form);
  } catch (const Error& error) {
    core::throw_with_place(options.model.string(), error);
  }
  core::write_text_atomic(options.out, bytes);
  ExportedNetwork result{.bytes = static_cast<std::int64_t>(bytes.size()), .exits = 1};
  if (options.form != onnx::Form::plain)
    result.exits = static_cast<int>(graph::exit_segments(model.graph).size());
  return result;
}

}  // namespace offramp::workflow
