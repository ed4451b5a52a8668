#include "engine/opened_model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "core/system.h"
#include "engine/auto_precision.h"
#include "engine/runner.h"
#include "engine/team.h"
#include "model/certified_hash.h"
#include "runtime/compile.h"
#include "runtime/compiled_table.h"
#include "runtime/kernels_name.h"
#include "runtime/omp_threads.h"
#include "runtime/refill_batcher.h"

namespace offramp::engine {
namespace {

constexpr int kMaxThreads = 4096, kMaxBatch = 1024;

void check(const OpenOptions& options) {
  if (options.precision != "auto") runtime::precision_from_string(options.precision);
  if (options.threads < 0 || options.threads > kMaxThreads)
    throw UsageError(
        fmt::format("threads: expected 0 to {}, got {}", kMaxThreads, options.threads));
  if (options.batch < 1 || options.batch > kMaxBatch)
    throw UsageError(fmt::format("batch: expected 1 to {}, got {}", kMaxBatch, options.batch));
}

/// Whether the network has convolutions by matrix multiplication, which oneDNN uses on CPUs without
/// AVX2. They order their sums by the number of threads, so that an image's logits would depend on
/// whether it runs alone or in a batch.
bool sums_depend_on_threads(const runtime::CompiledNetwork& network) {
  for (const runtime::CompiledRow& row : runtime::compiled_rows(network))
    if (row.implementation.find("gemm") != std::string::npos) return true;
  return false;
}

/// Computes the logits [N, K, classes] of every exit, one image after the other on the calling
/// thread's OpenMP threads. @param images  [N, C, H, W], normalised
std::vector<float> image_major_logits(
    const std::shared_ptr<const runtime::CompiledNetwork>& network, std::span<const float> images) {
  const runtime::OmpThreads threads(network->threads);
  const auto size = static_cast<std::size_t>(core::element_count(network->input));
  const std::size_t count = images.size() / size;
  const auto exits = static_cast<std::size_t>(network->num_exits);
  const auto classes = static_cast<std::size_t>(network->classes);
  std::vector<float> logits(count * exits * classes);
  runtime::RefillBatcher stream(network);
  const core::ExitVisitor note = [&](std::int64_t image, const core::ExitOutput& output) {
    const std::size_t row =
        static_cast<std::size_t>(image) * exits + static_cast<std::size_t>(output.exit_index);
    std::ranges::copy(output.logits, logits.begin() + static_cast<std::ptrdiff_t>(row * classes));
    return false;
  };
  for (std::size_t n = 0; n < count; ++n)
    stream.push(static_cast<std::int64_t>(n), images.subspan(n * size, size), note);
  stream.flush(note);
  return logits;
}

}  // namespace

class OpenedModel::State {
 public:
  State(model::MappedModel mapped, const OpenOptions& options)
      : mapped_(std::move(mapped)), file_(mapped_->model) {
    weights_ = [this](const std::string& name) {
      mapped_->file.check_length();
      return mapped_->weights_of(name);
    };
    open(options, [this](const std::string& name) { return mapped_->file.at(name).dtype; });
  }
  State(model::ModelFile model, const OpenOptions& options) : file_(std::move(model)) {
    weights_ = runtime::source_of(file_.weights);
    open(options, [this](const std::string& name) { return file_.weights.at(name).dtype; });
  }

  std::shared_ptr<const runtime::CompiledNetwork> batch_network() const {
    const std::lock_guard lock(compiling_);
    if (!batch_network_) {
      runtime::CompileOptions options = compiling_options(precision_, threads_ / streams_);
      // The sizes are batch_, batch_ / 2, … 2 (and 1), so that a flush runs most of its images in
      // large batches.
      options.batches = {};
      for (int size = batch_; size > 1; size /= 2) options.batches.push_back(size);
      try {
        batch_network_ = runtime::compile(file_.graph, weights_, options, *store_);
      } catch (const Error& error) {
        if (place_.empty()) throw;
        core::throw_with_place(place_, error);
      }
    }
    return batch_network_;
  }

  std::string place_;                         // the file of the model; empty if it has none
  std::optional<model::MappedModel> mapped_;  // empty if the model was opened from memory
  model::ModelFile file_;
  runtime::WeightSource weights_;
  graph::Cost cost_;
  std::vector<double> relative_costs_;
  runtime::Precision precision_ = runtime::Precision::f32;
  std::string kernels_;
  int threads_ = 1, batch_ = 1, streams_ = 1;
  std::vector<std::string> notes_;
  std::string fallback_;  // why another precision than the wanted one runs
  std::string certified_code_;
  std::unique_ptr<CertificateCheck> certificate_;
  std::shared_ptr<const runtime::CompiledNetwork> single_image_network_;
  std::unique_ptr<Team> team_;

  // compiling_ guards the network for batches, which is compiled when it is first needed.
  mutable std::mutex compiling_;
  std::shared_ptr<runtime::WeightStore> store_ = std::make_shared<runtime::WeightStore>();
  mutable std::shared_ptr<const runtime::CompiledNetwork> batch_network_;

  // The runners that no call of run() uses now.
  std::mutex runners_mutex_;
  std::vector<std::unique_ptr<Runner>> runners_;

  std::string certified_hash() const { return model::certified_hash(file_, weights_); }

 private:
  void open(const OpenOptions& options,
            const std::function<core::DType(const std::string&)>& stored) {
    check(options);
    cost_ = graph::cost_of(file_.graph);
    relative_costs_ = cost_.relative_costs();
    threads_ = options.threads > 0 ? options.threads : core::usable_cores();
    batch_ = options.batch;
    streams_ = options.streams > 0 ? std::min(options.streams, threads_) : threads_;
    // OpenMP ends the whole program if it cannot start a thread. An image that runs alone has
    // threads_ of them, beside the team's.
    core::check_can_start(threads_ - 1 + streams_ - 1);
    kernels_ = runtime::kernels_name();
    precision_ = choose_precision(options.precision, stored);
    single_image_network_ = compile_single_image_network();
    open_certificate();
    team_ = std::make_unique<Team>(streams_ - 1, threads_ / streams_);
  }

  runtime::Precision choose_precision(
      const std::string& wanted, const std::function<core::DType(const std::string&)>& stored) {
    runtime::Precision precision = runtime::Precision::f32;
    if (wanted != "auto") {
      precision = runtime::precision_from_string(wanted);
    } else {
      const AutoPrecision found = auto_precision(file_, stored);
      precision = found.precision;
      if (found.is_out_of_bounds)
        fall_back(
            file_.deployment->precision + (file_.deployment->measured.images > 0
                                               ? " exceeded its bounds on the tune images"
                                               : " was never compared with f32 on tune images"),
            runtime::precision_from_string(file_.deployment->precision), runtime::Precision::f32);
    }
    const runtime::Precision usable = runtime::usable_precision(precision);
    if (usable != precision)
      fall_back(fmt::format("this CPU has no instructions for {}", to_string(precision)), precision,
                usable);
    return usable;
  }

  /// Notes that the model does not run in the wanted precision. If that one is certified, the note
  /// of the certificate, which gives the same reason, is enough.
  void fall_back(std::string why, runtime::Precision wanted, runtime::Precision used) {
    const bool certified = file_.policy && file_.policy->guarantee &&
                           file_.policy->guarantee->precision == to_string(wanted);
    if (certified)
      fallback_ = std::move(why);
    else
      notes_.push_back(fmt::format("{}: the model runs in {}", why, to_string(used)));
  }

  runtime::CompileOptions compiling_options(runtime::Precision precision, int threads) const {
    runtime::CompileOptions options;
    options.precision = precision;
    options.threads = threads;
    options.max_bytes = static_cast<std::size_t>(
        std::min<std::uint64_t>(runtime::kMaxNetworkBytes, core::usable_memory()));
    if (file_.deployment) options.ranges = file_.deployment->ranges;
    return options;
  }

  std::shared_ptr<const runtime::CompiledNetwork> compile_single_image_network() const {
    auto network =
        runtime::compile(file_.graph, weights_, compiling_options(precision_, threads_), *store_);
    if (threads_ == 1 || !sums_depend_on_threads(*network)) return network;
    return runtime::compile(file_.graph, weights_,
                            compiling_options(precision_, threads_ / streams_), *store_);
  }

  void open_certificate() {
    const std::string arithmetic = runtime::arithmetic_name(precision_, file_.graph);
    certified_code_ =
        arithmetic.empty() || file_.stored_images.logits.empty() ? kernels_ : arithmetic;
    certificate_ = std::make_unique<CertificateCheck>(
        file_, RunningCode{precision_, kernels_, arithmetic, fallback_},
        CertificateCheck::Evidence{[this](std::span<const float> images) {
                                     return image_major_logits(single_image_network_, images);
                                   },
                                   [this] { return certified_hash(); }});
    if (!file_.policy || !file_.policy->guarantee) return;
    if (const CertificateStatus known = certificate_->so_far(); known.in_force == InForce::no)
      notes_.push_back(fallback_.empty() ? "the certificate is not in force: " + known.why
                                         : known.why);
  }
};

OpenedModel::OpenedModel(std::unique_ptr<State> state) : state_(std::move(state)) {}
OpenedModel::~OpenedModel() = default;

std::shared_ptr<OpenedModel> OpenedModel::open(const std::filesystem::path& path,
                                               const OpenOptions& options) {
  check(options);
  model::MappedModel mapped = model::map_model(path);
  try {
    std::shared_ptr<OpenedModel> model(
        new OpenedModel(std::make_unique<State>(std::move(mapped), options)));
    model->state_->place_ = path.string();
    return model;
  } catch (const Error& error) {
    core::throw_with_place(path.string(), error);
  }
}

std::shared_ptr<OpenedModel> OpenedModel::open(model::ModelFile model, const OpenOptions& options) {
  return std::shared_ptr<OpenedModel>(
      new OpenedModel(std::make_unique<State>(std::move(model), options)));
}

const model::ModelFile& OpenedModel::file() const { return state_->file_; }
const graph::Cost& OpenedModel::cost() const { return state_->cost_; }
const std::vector<double>& OpenedModel::relative_costs() const { return state_->relative_costs_; }
runtime::Precision OpenedModel::precision() const { return state_->precision_; }
const std::string& OpenedModel::kernels() const { return state_->kernels_; }
int OpenedModel::threads() const { return state_->threads_; }
int OpenedModel::batch() const { return state_->batch_; }
int OpenedModel::streams() const { return state_->streams_; }
const std::vector<std::string>& OpenedModel::notes() const { return state_->notes_; }
const std::string& OpenedModel::certified_code() const { return state_->certified_code_; }
const CertificateCheck& OpenedModel::certificate() const { return *state_->certificate_; }
std::string OpenedModel::certified_hash() const { return state_->certified_hash(); }
int OpenedModel::num_exits() const { return state_->single_image_network_->num_exits; }
int OpenedModel::num_classes() const {
  return static_cast<int>(state_->single_image_network_->classes);
}
std::int64_t OpenedModel::image_size() const {
  return core::element_count(state_->single_image_network_->input);
}
const std::shared_ptr<const runtime::CompiledNetwork>& OpenedModel::single_image_network() const {
  return state_->single_image_network_;
}
std::shared_ptr<const runtime::CompiledNetwork> OpenedModel::batch_network() const {
  return state_->batch_network();
}
Team& OpenedModel::team() const { return *state_->team_; }

void OpenedModel::run(std::span<const float> images, const core::ExitVisitor& visit) {
  const auto size = static_cast<std::size_t>(image_size());
  if (images.size() % size != 0)
    throw Error(fmt::format("images: got {} values, expected a multiple of {} (one image)",
                            images.size(), size));
  std::unique_ptr<Runner> runner;
  {
    const std::lock_guard lock(state_->runners_mutex_);
    if (!state_->runners_.empty()) {
      runner = std::move(state_->runners_.back());
      state_->runners_.pop_back();
    }
  }
  // The pointer does not own the model: the model keeps the runner, and they would keep each other
  // alive.
  if (!runner)
    runner = std::make_unique<Runner>(std::shared_ptr<OpenedModel>(std::shared_ptr<void>(), this));
  const auto keep = [&] {
    const std::lock_guard lock(state_->runners_mutex_);
    state_->runners_.push_back(std::move(runner));
  };
  const ImageSource source = [&](std::int64_t image, std::span<float> pixels) {
    std::ranges::copy(images.subspan(static_cast<std::size_t>(image) * size, size), pixels.begin());
    return true;
  };
  try {
    runner->run(static_cast<std::int64_t>(images.size() / size), source, visit);
  } catch (...) {
    keep();
    throw;
  }
  keep();
}

}  // namespace offramp::engine
