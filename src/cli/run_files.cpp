#include "cli/run_files.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <thread>

#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "core/version.h"
#include "graph/cost.h"

namespace offramp::cli {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

json details_of(const ModelFile& model) {
  json details = json::parse(model.provenance.details_json, nullptr, false);
  return details.is_object() ? details : json::object();
}

std::optional<std::vector<double>> numbers(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return std::nullopt;
  std::vector<double> values;
  for (const json& value : *found) {
    if (!value.is_number()) return std::nullopt;
    values.push_back(value.get<double>());
  }
  return values;
}

std::optional<TrainingEpoch> epoch_of(const std::string& line) {
  const json parsed = json::parse(line, nullptr, false);
  if (!parsed.is_object()) return std::nullopt;
  const auto number = [&](const char* key) {
    const auto found = parsed.find(key);
    return found != parsed.end() && found->is_number() ? std::optional(found->get<double>())
                                                       : std::nullopt;
  };
  const auto epoch = number("epoch"), loss = number("loss");
  auto train = numbers(parsed, "train_accuracy"), tune = numbers(parsed, "tune_accuracy");
  if (!epoch || !loss || !train || !tune || !(*epoch >= 1) || *epoch > 1e6) return std::nullopt;
  return TrainingEpoch{static_cast<int>(*epoch), *loss, std::move(*train), std::move(*tune)};
}

std::string time_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name"))
      if (const auto colon = line.find(": "); colon != std::string::npos)
        return line.substr(colon + 2);
  return "not known";
}

}  // namespace

RunFiles find_run(const std::string& path) {
  std::error_code ignored;
  const fs::path place = fs::weakly_canonical(path, ignored);
  if (!fs::is_directory(path, ignored))
    return {fs::path(path).filename().string(), path, fs::path(path).parent_path()};
  const fs::path model = fs::path(path) / "model.safetensors";
  if (!fs::exists(model, ignored))
    throw Error("{}: holds no model.safetensors: a run folder, or a model file, is expected", path);
  return {place.filename().string(), model, path};
}

std::string recipe_of(const RunFiles& run, const ModelFile& model) {
  std::error_code ignored;
  const fs::path kept = run.folder / "config.toml";
  if (fs::is_regular_file(kept, ignored)) return read_text(kept);
  const json details = details_of(model);
  const auto recipe = details.find("recipe");
  return recipe != details.end() && recipe->is_string() ? recipe->get<std::string>() : "";
}

Training training_of(const RunFiles& run) {
  Training training;
  training.name = run.name;
  std::error_code ignored;
  const fs::path metrics = run.folder / "metrics.jsonl";
  if (!fs::is_regular_file(metrics, ignored)) return training;
  std::istringstream lines(read_text(metrics));
  for (std::string line; std::getline(lines, line);)
    if (auto epoch = epoch_of(line)) training.epochs.push_back(std::move(*epoch));
  return training;
}

std::vector<std::pair<std::string, std::string>> facts_of(const ModelFile& model) {
  const Cost cost = cost_of(model.graph);
  const DataProvenance& data = model.provenance.data;
  std::vector<std::pair<std::string, std::string>> facts = {
      {"network", model.graph.name},
      {"parameters", with_commas(cost.total_parameters())},
      {"MACs of the plain network", with_commas(cost.plain_macs)},
      {"trained on",
       fmt::format("{} images{}{}", with_commas(static_cast<std::int64_t>(data.train.size())),
                   data.source.empty() ? "" : " of ", data.source)},
      {"chosen on, tune",
       fmt::format("{} images", with_commas(static_cast<std::int64_t>(data.tune.size())))},
      {"kept to certify",
       fmt::format("{} images", with_commas(static_cast<std::int64_t>(data.certify.size())))}};
  const json details = details_of(model);
  for (const char* key : {"seed", "epoch", "step", "precision", "device", "threads", "commit"})
    if (const auto found = details.find(key); found != details.end() && found->is_primitive())
      facts.emplace_back(fmt::format("training: {}", key),
                         found->is_string() ? found->get<std::string>() : found->dump());
  if (const auto found = details.find("seconds"); found != details.end() && found->is_number())
    facts.emplace_back("training: time", time_text(found->get<double>()));
  facts.emplace_back("this report by", fmt::format("offramp {} ({})", kVersion, kCommit));
  facts.emplace_back(
      "on", fmt::format("{}, {} threads", processor(), std::thread::hardware_concurrency()));
  return facts;
}

}  // namespace offramp::cli
