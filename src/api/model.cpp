#include "offramp/model.h"

#include <omp.h>

#include <algorithm>

#include "api/model_state.h"
#include "core/error.h"
#include "core/version.h"
#include "runtime/auto_precision.h"
#include "runtime/kernels_name.h"
#include "runtime/self_check.h"

namespace offramp {
namespace {

constexpr int kMostThreads = 4096, kLargestBatch = 1024;

void check(const Options& options) {
  if (options.threads < 0 || options.threads > kMostThreads)
    throw UsageError("threads: expected 0 to {}, got {}", kMostThreads, options.threads);
  if (options.batch < 1 || options.batch > kLargestBatch)
    throw UsageError("batch: expected 1 to {}, got {}", kLargestBatch, options.batch);
}

}  // namespace

Model::State::State(const std::filesystem::path& path, const Options& options) {
  check(options);
  if (options.precision != "auto") precision_from_string(options.precision);
  mapped_ = map_model(path);
  cost_ = cost_of(file().graph);
  relative_costs_ = cost_.relative_costs();
  batch_ = options.batch;
  compile_options_.precision = choose_precision(options.precision);
  compile_options_.threads = options.threads > 0 ? options.threads : omp_get_num_procs();
  try {
    for_one_ = compiled(compile_options_);
    check_stored_logits();
  } catch (const Error& error) {
    throw_with_place(path.string(), error);
  }
  settle_promise();
}

/// What the file keeps logits of is asked again; another answer, and the model runs in f32.
void Model::State::check_stored_logits() {
  if (!file().deployment || file().deployment->precision != to_string(precision()) ||
      gives_stored_logits(for_one_, file()))
    return;
  notes_.push_back(
      fmt::format("{} gives other logits here than where the file was made: the model runs in f32",
                  to_string(precision())));
  compile_options_.precision = Precision::f32;
  store_ = make_weight_store();
  for_one_ = compiled(compile_options_);
}

std::shared_ptr<const CompiledNetwork> Model::State::compiled(CompileOptions options) const {
  const auto weights = [this](const std::string& name) { return mapped_.weights_of(name); };
  options.ranges = file().deployment ? file().deployment->ranges : Ranges{};
  return compile(file().graph, weights, options, *store_);
}

Precision Model::State::choose_precision(const std::string& wanted) {
  Precision precision = Precision::f32;
  if (wanted != "auto") {
    precision = precision_from_string(wanted);
  } else {
    const AutoPrecision found = auto_precision(
        file(), [this](const std::string& name) { return mapped_.file.at(name).dtype; });
    precision = found.precision;
    if (found.is_out_of_bounds)
      notes_.push_back(
          fmt::format("{} was measured outside its bounds on tune: the model runs in f32",
                      file().deployment->precision));
  }
  const Precision usable = usable_precision(precision);
  if (usable != precision)
    notes_.push_back(fmt::format("this CPU has no instructions for {}: the model runs in {}",
                                 to_string(precision), to_string(usable)));
  return usable;
}

/// A certificate names precision and kernels; under others it says nothing.
void Model::State::settle_promise() {
  if (!file().policy || !file().policy->guarantee) return;
  const Guarantee& given = *file().policy->guarantee;
  const std::string_view precision = to_string(compile_options_.precision);
  const std::string kernels = kernels_name();
  if (given.precision == precision && given.kernels == kernels)
    promise_ = Promise{given.of, given.epsilon, given.delta};
  else
    notes_.push_back(
        fmt::format("the guarantee was certified in {} with {}, not in {} with {}: it "
                    "does not hold here",
                    given.precision, given.kernels, precision, kernels));
}

std::shared_ptr<const CompiledNetwork> Model::State::for_many() const {
  const std::lock_guard lock(compiling_);
  if (!for_many_) {
    CompileOptions options = compile_options_;
    options.batches = {};
    // Halves down to 1: a flush leaves few images to the smallest size.
    for (int size = batch_; size > 1; size /= 2) options.batches.push_back(size);
    for_many_ = compiled(options);
  }
  return for_many_;
}

Model::Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Model Model::load(const std::filesystem::path& path, const Options& options) {
  return Model(std::make_shared<const State>(path, options));
}

const std::vector<std::string>& Model::classes() const { return state_->file().classes; }
int Model::width() const { return state_->file().preprocessing.width; }
int Model::height() const { return state_->file().preprocessing.height; }
int Model::channels() const { return static_cast<int>(state_->file().graph.input[0]); }
int Model::num_exits() const { return static_cast<int>(state_->cost().exit_macs.size()); }
const std::vector<std::int64_t>& Model::macs() const { return state_->cost().exit_macs; }
const std::vector<double>& Model::relative_costs() const { return state_->relative_costs(); }
bool Model::has_policy() const { return state_->file().policy.has_value(); }
std::optional<Promise> Model::promise() const { return state_->promise(); }
std::string Model::precision() const { return std::string(to_string(state_->precision())); }
int Model::threads() const { return state_->threads(); }
int Model::batch() const { return state_->batch(); }
const std::vector<std::string>& Model::notes() const { return state_->notes(); }

const char* version() { return kVersion; }

}  // namespace offramp
