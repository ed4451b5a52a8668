#include "workflow/report_input.h"

#include <fmt/format.h>

#include <fstream>
#include <thread>

#include "cli/terminal.h"
#include "core/version.h"
#include "graph/cost.h"

namespace offramp::workflow {
namespace {

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

Training training_of(const workflow::FoundRun& run) {
  Training training;
  training.name = run.name;
  for (workflow::EpochReport& epoch : workflow::RunFolder(run.folder).epochs())
    training.epochs.push_back(
        {epoch.epoch, epoch.loss, std::move(epoch.train_accuracy), std::move(epoch.tune_accuracy)});
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
  const workflow::TrainingDetails details = workflow::training_details(model);
  const auto add = [&](const char* key, const std::string& text) {
    if (!text.empty()) facts.emplace_back(fmt::format("training: {}", key), text);
  };
  const auto add_number = [&](const char* key, const auto& value) {
    if (value) add(key, fmt::format("{}", *value));
  };
  add_number("seed", details.seed);
  add_number("epoch", details.epoch);
  add_number("step", details.step);
  add("precision", details.precision);
  add("device", details.device);
  add_number("threads", details.threads);
  add("commit", details.commit);
  if (details.seconds) add("time", time_text(*details.seconds));
  facts.emplace_back("this report by", fmt::format("offramp {} ({})", kVersion, kCommit));
  facts.emplace_back(
      "on", fmt::format("{}, {} threads", processor(), std::thread::hardware_concurrency()));
  return facts;
}

}  // namespace offramp::workflow
