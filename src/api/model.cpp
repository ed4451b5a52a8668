#include "offramp/model.h"

#include <utility>

#include "api/input_loader.h"
#include "api/model_state.h"
#include "core/error.h"
#include "core/version.h"
#include "policy/criteria.h"

namespace offramp {

namespace api {

std::optional<Guarantee> guarantee_of(const engine::OpenedModel& model,
                                      const engine::CertificateStatus& status) {
  const std::optional<policy::Guarantee>& given = model.certificate().guarantee();
  if (!given) return std::nullopt;
  return engine::to_public(*given, status);
}

const policy::CertifiedPath* path_of(const engine::OpenedModel& model) {
  const std::optional<policy::ChosenPolicy>& chosen = model.file().policy;
  return chosen && chosen->path ? &*chosen->path : nullptr;
}

}  // namespace api

Model::Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Model Model::load(const std::filesystem::path& path, const Options& options) {
  return Model(std::make_shared<const State>(engine::OpenedModel::open(
      path, {.precision = options.precision, .threads = options.threads, .batch = options.batch})));
}

const std::vector<std::string>& Model::classes() const { return state_->opened()->file().classes; }
int Model::width() const { return state_->opened()->file().preprocessing.width; }
int Model::height() const { return state_->opened()->file().preprocessing.height; }
int Model::channels() const { return static_cast<int>(state_->opened()->file().graph.input[0]); }
int Model::num_exits() const { return state_->opened()->num_exits(); }
const std::vector<std::int64_t>& Model::macs() const { return state_->opened()->cost().exit_macs; }
const std::vector<double>& Model::relative_costs() const {
  return state_->opened()->relative_costs();
}
void Model::prepare(const ImageView& image, std::span<float> input, std::int64_t max_pixels) const {
  const engine::OpenedModel& model = *state_->opened();
  if (input.size() != static_cast<std::size_t>(model.image_size()))
    throw UsageError(fmt::format("prepare: input has {} values, but the network takes {}",
                                 input.size(), model.image_size()));
  api::InputLoader(model.file().graph.input, model.file().preprocessing, max_pixels)
      .load(image, input);
}
bool Model::has_policy() const { return state_->opened()->file().policy.has_value(); }
std::string Model::criterion() const {
  const std::optional<policy::ChosenPolicy>& chosen = state_->opened()->file().policy;
  return chosen ? std::string(policy::info(chosen->policy.criterion).name) : "";
}
std::string Model::ensemble() const {
  const std::optional<policy::ChosenPolicy>& chosen = state_->opened()->file().policy;
  return chosen ? std::string(to_string(chosen->policy.ensemble)) : "";
}
std::vector<PolicyStep> Model::policy_path() const {
  const policy::CertifiedPath* const path = api::path_of(*state_->opened());
  std::vector<PolicyStep> steps;
  if (path == nullptr) return steps;
  const engine::OpenedModel& model = *state_->opened();
  const std::vector<double> bounds = policy::disagreement_bounds(*model.file().policy);
  // `offramp verify` compares other code with the certified one for the chosen step only.
  const policy::Guarantee& here = *model.certificate().guarantee();
  const bool is_only_verified = here != *model.file().policy->guarantee;
  for (const policy::PathStep& step : path->steps) {
    const std::size_t m = steps.size();
    std::optional<double> bound;
    if (m == path->chosen)
      bound = policy::disagreement_bound(here);
    else if (m < bounds.size() && !is_only_verified)
      bound = bounds[m];
    steps.push_back({step.thresholds, step.accuracy, step.relative_cost, m <= path->chosen, bound});
  }
  return steps;
}
std::optional<int> Model::chosen_step() const {
  const policy::CertifiedPath* const path = api::path_of(*state_->opened());
  if (path == nullptr) return std::nullopt;
  return static_cast<int>(path->chosen);
}
std::optional<Guarantee> Model::guarantee() const {
  return api::guarantee_of(*state_->opened(), state_->opened()->certificate().status());
}
std::optional<Guarantee> Model::guarantee_so_far() const {
  return api::guarantee_of(*state_->opened(), state_->opened()->certificate().so_far());
}
std::string Model::precision() const {
  return std::string(to_string(state_->opened()->precision()));
}
int Model::threads() const { return state_->opened()->threads(); }
int Model::batch() const { return state_->opened()->batch(); }
const std::vector<std::string>& Model::notes() const { return state_->opened()->notes(); }

const char* version() { return core::kVersion; }

}  // namespace offramp
