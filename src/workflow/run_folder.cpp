#include "train/run_folder.h"

#include <bit>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/file.h"

namespace offramp::train {

using json = nlohmann::ordered_json;

Tensors RunState::save() const {
  std::vector<std::int64_t> values = {step,
                                      std::bit_cast<std::int64_t>(seconds),
                                      std::bit_cast<std::int64_t>(best_score),
                                      std::bit_cast<std::int64_t>(loss_sum),
                                      seen,
                                      std::bit_cast<std::int64_t>(epoch_seconds),
                                      std::bit_cast<std::int64_t>(epoch_wait)};
  values.insert(values.end(), correct.begin(), correct.end());
  Tensors result;
  result["run_state"] = HostTensor::of({static_cast<std::int64_t>(values.size())},
                                       std::span<const std::int64_t>(values));
  return result;
}

void RunState::load(const Tensors& saved, std::size_t exits) {
  const auto found = saved.find("run_state");
  constexpr std::size_t kFixed = 7;
  if (found == saved.end() || found->second.count() != static_cast<std::int64_t>(kFixed + exits))
    throw Error("tensor \"run_state\": missing or of another network");
  const auto values = found->second.as<std::int64_t>();
  step = values[0];
  seconds = std::bit_cast<double>(values[1]);
  best_score = std::bit_cast<double>(values[2]);
  loss_sum = std::bit_cast<double>(values[3]);
  seen = values[4];
  epoch_seconds = std::bit_cast<double>(values[5]);
  epoch_wait = std::bit_cast<double>(values[6]);
  correct.assign(values.begin() + kFixed, values.end());
}

void RunFolder::check_free() const {
  if (std::filesystem::exists(checkpoint()))
    throw UsageError("{}: already holds a run; go on with --resume, or choose another --out",
                     path_.string());
}

void RunFolder::remove_leftovers() const {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(path_, ignored))
    if (is_temporary(entry.path())) std::filesystem::remove(entry.path(), ignored);
}

void RunFolder::start(const Recipe& recipe) const {
  check_free();
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) throw Error("{}: cannot make the folder: {}", path_.string(), error.message());
  write_text_atomic(file("config.toml"), to_toml(recipe));
  write_text_atomic(file("metrics.jsonl"), "");
}

void RunFolder::log(const EpochReport& r) const {
  const json line = {{"epoch", r.epoch},
                     {"epochs", r.epochs},
                     {"loss", r.loss},
                     {"train_accuracy", r.train_accuracy},
                     {"tune_accuracy", r.tune_accuracy},
                     {"tune_nll", r.tune_nll},
                     {"learning_rate", r.learning_rate},
                     {"images_per_second", r.images_per_second},
                     {"seconds", r.seconds},
                     {"loader_wait", r.loader_wait},
                     {"best", r.best}};
  append_line(file("metrics.jsonl"), line.dump());
}

void RunFolder::forget_after(int epoch) const {
  if (!std::filesystem::exists(file("metrics.jsonl"))) return;
  std::istringstream lines(read_text(file("metrics.jsonl")));
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const json parsed = json::parse(line, nullptr, false);
    if (parsed.is_object() && parsed.value("epoch", epoch + 1) <= epoch) kept += line + "\n";
  }
  write_text_atomic(file("metrics.jsonl"), kept);
}

}  // namespace offramp::train
