#include "cli/import_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/text.h"

namespace offramp::cli {

using json = nlohmann::ordered_json;

std::string to_json_text(const workflow::ImportNetworkOptions& options,
                         const workflow::ImportedModel& result) {
  const json object = {
      {"network", options.network.string()},
      {"written_to", options.out.string()},
      {"producer", result.producer},
      {"opset", result.opset},
      {"onnx_nodes", result.onnx_nodes},
      {"nodes", result.nodes},
      {"input", result.input},
      {"classes", result.classes},
      {"precision", result.precision},
      {"macs", result.macs},
      {"parameters", result.parameters},
      {"images", {{"ranges", result.ranges}, {"tune", result.tune}, {"certify", result.certify}}},
      {"notes", result.notes}};
  return json_text(object);
}

std::string to_text(const workflow::ImportNetworkOptions& options,
                    const workflow::ImportedModel& result, bool color) {
  std::string text = heading(printable(options.out.string()), color) + "\n";
  text += fmt::format("{} operations from {} ONNX nodes, opset {}{}{}\n", result.nodes,
                      result.onnx_nodes, result.opset, result.producer.empty() ? "" : ", by ",
                      printable(result.producer));
  text += fmt::format("input {}x{}x{}, {} classes, {} parameters, {} MACs\n", result.input[0],
                      result.input[1], result.input[2], core::with_commas(result.classes),
                      core::with_commas(result.parameters), core::with_commas(result.macs));
  if (result.tune > 0)
    text +=
        fmt::format("images for ranges {}, tune {}, certify {}\n", core::with_commas(result.ranges),
                    core::with_commas(result.tune), core::with_commas(result.certify));
  for (const std::string& note : result.notes) text += fmt::format("note: {}\n", printable(note));
  return text;
}

}  // namespace offramp::cli
