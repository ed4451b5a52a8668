#include "workflow/run_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "workflow/certificate_count.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr const char* kLock = ".lock";

// The keys of metrics.jsonl and of a model's details, for writing and for reading.
constexpr const char* kEpoch = "epoch";
constexpr const char* kEpochs = "epochs";
constexpr const char* kLoss = "loss";
constexpr const char* kTrainAccuracy = "train_accuracy";
constexpr const char* kTuneAccuracy = "tune_accuracy";
constexpr const char* kTuneNll = "tune_nll";
constexpr const char* kLearningRate = "learning_rate";
constexpr const char* kImagesPerSecond = "images_per_second";
constexpr const char* kSeconds = "seconds";
constexpr const char* kLoaderWait = "loader_wait";
constexpr const char* kBest = "best";
constexpr const char* kRecipe = "recipe";
constexpr const char* kSeed = "seed";
constexpr const char* kCommitOfDetails = "commit";
constexpr const char* kVersionOfDetails = "version";
constexpr const char* kStep = "step";
constexpr const char* kPrecision = "precision";
constexpr const char* kDevice = "device";
constexpr const char* kThreads = "threads";

bool read(const json& value, double& target) {
  if (value.is_number()) target = value.get<double>();
  return value.is_number();
}

bool read(const json& value, bool& target) {
  if (value.is_boolean()) target = value.get<bool>();
  return value.is_boolean();
}

bool read(const json& value, std::string& target) {
  if (value.is_string()) target = value.get<std::string>();
  return value.is_string();
}

bool read(const json& value, std::vector<double>& target) {
  if (!value.is_array()) return false;
  std::vector<double> values;
  for (const json& one : value) {
    if (!one.is_number()) return false;
    values.push_back(one.get<double>());
  }
  target = std::move(values);
  return true;
}

template <std::integral Integer>
bool read(const json& value, Integer& target) {
  if (!value.is_number_integer()) return false;
  const bool fits = value.is_number_unsigned() ? std::in_range<Integer>(value.get<std::uint64_t>())
                                               : std::in_range<Integer>(value.get<std::int64_t>());
  if (fits) target = value.get<Integer>();
  return fits;
}

template <typename T>
bool read(const json& value, std::optional<T>& target) {
  T found{};
  const bool good = read(value, found);
  if (good) target = found;
  return good;
}

/// Reads a member. If it is missing or has another type, returns false and leaves `target` as it
/// is.
template <typename T>
bool read(const json& object, const char* key, T& target) {
  const auto found = object.find(key);
  return found != object.end() && read(*found, target);
}

/// Parses a line of metrics.jsonl; nullopt if it is not an epoch.
std::optional<EpochReport> epoch_of(const std::string& line) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  EpochReport r;
  double epoch = 0;
  if (!read(object, kEpoch, epoch) || !read(object, kLoss, r.loss) ||
      !read(object, kTrainAccuracy, r.train_accuracy) ||
      !read(object, kTuneAccuracy, r.tune_accuracy) || !(epoch >= 1) || epoch > 1e6)
    return std::nullopt;
  r.epoch = static_cast<int>(epoch);
  read(object, kEpochs, r.epochs);
  read(object, kTuneNll, r.tune_nll);
  read(object, kLearningRate, r.learning_rate);
  read(object, kImagesPerSecond, r.images_per_second);
  read(object, kSeconds, r.seconds);
  read(object, kLoaderWait, r.loader_wait);
  read(object, kBest, r.best);
  return r;
}

}  // namespace

std::string to_json(const TrainingDetails& d) {
  json object = {{kRecipe, d.recipe}};
  const auto add = [&](const char* key, const auto& value) {
    if (value) object[key] = *value;
  };
  add(kSeed, d.seed);
  object[kCommitOfDetails] = d.commit;
  object[kVersionOfDetails] = d.version;
  add(kStep, d.step);
  add(kEpoch, d.epoch);
  object[kPrecision] = d.precision;
  object[kDevice] = d.device;
  add(kThreads, d.threads);
  add(kSeconds, d.seconds);
  object[kTuneAccuracy] = d.tune_accuracy;
  return object.dump();
}

TrainingDetails training_details(const model::ModelFile& model) {
  TrainingDetails d;
  const json object = json::parse(model.provenance.details_json, nullptr, false);
  if (!object.is_object()) return d;
  read(object, kRecipe, d.recipe);
  read(object, kSeed, d.seed);
  read(object, kCommitOfDetails, d.commit);
  read(object, kVersionOfDetails, d.version);
  read(object, kStep, d.step);
  read(object, kEpoch, d.epoch);
  read(object, kPrecision, d.precision);
  read(object, kDevice, d.device);
  read(object, kThreads, d.threads);
  read(object, kSeconds, d.seconds);
  read(object, kTuneAccuracy, d.tune_accuracy);
  return d;
}

std::string RunFolder::recipe_text() const {
  std::error_code ignored;
  return fs::is_regular_file(config(), ignored) ? core::read_text(config()) : "";
}

std::vector<EpochReport> RunFolder::epochs() const {
  std::vector<EpochReport> result;
  std::error_code ignored;
  if (!fs::is_regular_file(metrics(), ignored)) return result;
  std::istringstream lines(core::read_text(metrics()));
  for (std::string line; std::getline(lines, line);)
    if (auto epoch = epoch_of(line)) result.push_back(std::move(*epoch));
  return result;
}

core::FileLock RunFolder::lock() const {
  std::optional<core::FileLock> lock = core::FileLock::try_lock(path_ / kLock);
  if (!lock)
    throw Error(fmt::format("{}: another process is training in this folder", path_.string()));
  return std::move(*lock);
}

void RunFolder::check_not_training() const {
  std::error_code ignored;
  if (fs::exists(path_ / kLock, ignored)) lock();
}

void RunFolder::check_free() const {
  check_not_training();
  check_empty();
}

void RunFolder::check_empty() const {
  if (fs::exists(checkpoint()) || fs::exists(RunFolder(heads()).checkpoint()))
    throw UsageError(
        fmt::format("{}: already holds a run; continue it with --resume, or choose another --out",
                    path_.string()));
  if (fs::exists(model()))
    throw UsageError(
        fmt::format("{}: already holds a model; choose another --out", path_.string()));
}

core::FileLock RunFolder::start(const recipe::Recipe& recipe) const {
  check_free();
  std::error_code error;
  fs::create_directories(path_, error);
  if (error)
    throw Error(fmt::format("{}: cannot create the folder: {}", path_.string(), error.message()));
  core::FileLock folder_lock = lock();
  check_empty();  // In the meantime, another process may have started and finished a run.
  core::write_text_atomic(config(), recipe::to_toml(recipe));
  core::write_text_atomic(metrics(), "");
  return folder_lock;
}

core::FileLock RunFolder::resume() const {
  if (!fs::exists(checkpoint()))
    throw UsageError(fmt::format("{}: no checkpoint to resume from", checkpoint().string()));
  core::FileLock folder_lock = lock();
  core::remove_leftovers(path_);
  return folder_lock;
}

int RunFolder::recorded_attempts(const model::ModelFile& model) const {
  int most = 0;
  for (const fs::path& file : {checkpoint(), last(), ema(), best(), this->model()})
    most = std::max(most, offramp::model::recorded_attempts(file, model));
  return most;
}

bool RunFolder::save(const fs::path& file, model::ModelFile& model,
                     const core::Tensors& extra) const {
  // "offramp calibrate" may count a certificate or write a policy at the same time.
  const core::FileLock lock = lock_to_change(file);
  model.certificates = std::max(model.certificates, recorded_attempts(model));
  model.policy.reset();
  if (fs::exists(file)) {
    try {
      const model::ModelFile replaced = model::map_model(file).model;
      if (replaced.graph == model.graph) model.policy = replaced.policy;
    } catch (const Error&) {  // the policy of a damaged file is lost
    }
  }
  if (model.policy) {
    model.policy->guarantee.reset();
    model.policy->path.reset();
    model.policy->seen.reset();
  }
  model::save_model(file, model, extra);
  return model.policy.has_value();
}

void RunFolder::log(const EpochReport& r) const {
  const json line = {{kEpoch, r.epoch},
                     {kEpochs, r.epochs},
                     {kLoss, r.loss},
                     {kTrainAccuracy, r.train_accuracy},
                     {kTuneAccuracy, r.tune_accuracy},
                     {kTuneNll, r.tune_nll},
                     {kLearningRate, r.learning_rate},
                     {kImagesPerSecond, r.images_per_second},
                     {kSeconds, r.seconds},
                     {kLoaderWait, r.loader_wait},
                     {kBest, r.best}};
  core::append_line(metrics(), line.dump());
}

void RunFolder::remove_epochs_after(int epoch) const {
  if (!fs::exists(metrics())) return;
  std::istringstream lines(core::read_text(metrics()));
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const json parsed = json::parse(line, nullptr, false);
    const bool has_epoch =
        parsed.is_object() && parsed.contains(kEpoch) && parsed[kEpoch].is_number_integer();
    if (has_epoch && parsed[kEpoch].get<std::int64_t>() <= epoch) kept += line + "\n";
  }
  core::write_text_atomic(metrics(), kept);
}

FoundRun find_run(const std::string& path) {
  std::error_code ignored;
  const fs::path place = fs::weakly_canonical(path, ignored);
  if (!fs::is_directory(path, ignored))
    return {fs::path(path).filename().string(), path, fs::path(path).parent_path()};
  const fs::path model = RunFolder(path).model();
  if (!fs::exists(model, ignored))
    throw Error(fmt::format(
        "{}: contains no model.safetensors; expected a run folder or a model file", path));
  return {place.filename().string(), model, path};
}

fs::path model_path(const std::string& path) { return find_run(path).model; }

std::string recipe_text(const FoundRun& run, const model::ModelFile& model) {
  std::string kept = RunFolder(run.folder).recipe_text();
  return kept.empty() ? training_details(model).recipe : kept;
}

}  // namespace offramp::workflow
