#include "workflow/export_network.h"

#include <string>

#include "core/error.h"
#include "core/file.h"
#include "model/model_file.h"
#include "runtime/lower.h"
#include "runtime/precision.h"
#include "runtime/quantised_elements.h"
#include "workflow/output_file.h"

namespace offramp::workflow {
namespace {

runtime::Precision precision_of(const ExportNetworkOptions& options,
                                const model::ModelFile& model) {
  const bool is_int8 = model.deployment && model.deployment->precision == "int8";
  if (options.precision == "auto")
    return is_int8 ? runtime::Precision::int8 : runtime::Precision::f32;
  const runtime::Precision precision = runtime::precision_from_string(options.precision);
  if (precision == runtime::Precision::bf16)
    throw UsageError("precision: an ONNX file computes in f32 or int8, got \"bf16\"");
  if (precision == runtime::Precision::int8 && !is_int8)
    throw UsageError("precision: int8 needs a model that `offramp quantize` made");
  return precision;
}

/// The tensors that the runtime stores in 8 bits.
onnx::QuantisedTensors quantised_tensors(const model::ModelFile& model) {
  onnx::QuantisedTensors tensors;
  const auto network = runtime::lower(model.graph, runtime::source_of(model.weights));
  for (const auto& [name, element] : runtime::quantised_elements(network, model.deployment->ranges))
    tensors[name] = {element.scale, element.dtype == core::DType::i8};
  return tensors;
}

}  // namespace

ExportedNetwork export_network(const ExportNetworkOptions& options) {
  check_output("out", options.out, {options.model});
  const model::ModelFile model = model::load_model(options.model);
  ExportedNetwork result;
  const runtime::Precision precision = precision_of(options, model);
  result.precision = runtime::to_string(precision);
  std::string bytes;
  try {
    bytes = onnx::network_as_onnx(model, options.form,
                                  precision == runtime::Precision::int8 ? quantised_tensors(model)
                                                                        : onnx::QuantisedTensors{});
  } catch (const Error& error) {
    core::throw_with_place(options.model.string(), error);
  }
  core::write_text_atomic(options.out, bytes);
  result.bytes = static_cast<std::int64_t>(bytes.size());
  result.exits = 1;
  if (options.form != onnx::Form::plain)
    result.exits = static_cast<int>(graph::exit_segments(model.graph).size());
  return result;
}

}  // namespace offramp::workflow
