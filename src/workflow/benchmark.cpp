#include "workflow/benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/numbers.h"
#include "core/parallel.h"
#include "core/random.h"
#include "engine/opened_model.h"
#include "engine/runner.h"
#include "graph/cost.h"
#include "model/remove_exits.h"
#include "runtime/kernels_name.h"
#include "workflow/benchmark_images.h"
#include "workflow/model_or_recipe.h"

namespace offramp::workflow {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 8;      // largest number of rounds that the images are divided into
constexpr int kMinRounds = 5;   // with fewer rounds the median is not reliable
constexpr int kTrialTurns = 3;  // number of short trials of each split

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

std::vector<std::int64_t> shuffled(std::int64_t count) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  core::KeyedRandom random(1, 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

/// The model and the policy that a mode runs.
struct ModeSetup {
  model::ModelFile model;
  policy::Policy policy;
  graph::Cost cost;
};

ModeSetup setup_of(BenchmarkMode mode, const model::ModelFile& model,
                   const policy::Policy* policy) {
  ModeSetup setup{
      model, policy::never_stop(static_cast<int>(graph::exit_segments(model.graph).size())), {}};
  switch (mode) {
    case BenchmarkMode::plain: {
      std::vector<int> early(setup.policy.thresholds.size());
      std::iota(early.begin(), early.end(), 0);
      if (!early.empty()) {
        setup.model.policy.reset();
        setup.model = remove_exits(setup.model, early);
      }
      setup.policy = policy::never_stop(1);
      break;
    }
    case BenchmarkMode::adaptive:
      if (policy == nullptr)
        throw UsageError("mode: adaptive: the model has no policy; give a threshold");
      setup.policy = *policy;
      break;
    case BenchmarkMode::exhaustive:
      break;
  }
  setup.cost = graph::cost_of(setup.model.graph);
  return setup;
}

/// The exit, the answer and the time of each image.
struct ImageOutcomes {
  explicit ImageOutcomes(std::size_t images)
      : exit_index(images, -1), answers(images, -1), seconds(images, 0) {}

  std::vector<int> exit_index;  ///< 0-based
  std::vector<int> answers;     ///< predicted class
  std::vector<double> seconds;  ///< time from the moment a thread takes the image until its answer
};

/// A network that runs with one split of the threads.
class Candidate {
 public:
  Candidate(const ModeSetup& setup, runtime::Precision precision, int batch, Split split)
      : split_(split),
        policy_(setup.policy),
        model_(engine::OpenedModel::open(
            setup.model, {std::string(to_string(precision)), split.streams * split.threads, batch,
                          split.streams})),
        runner_(model_) {}

  const Split& split() const { return split_; }
  const engine::OpenedModel& model() const { return *model_; }

  /// Runs images until all have their answers. At the end, images that wait for a full batch are
  /// run in smaller batches.
  /// @param images  [N, C, H, W] f32, normalised  @param order  indices of the images to run
  /// @param outcomes  [N] written for the images in `order`  @return seconds for all of them
  double run(std::span<const float> images, std::span<const std::int64_t> order,
             ImageOutcomes& outcomes) {
    exit_states_.resize(outcomes.answers.size());
    taken_.resize(outcomes.answers.size());
    const auto size = static_cast<std::size_t>(model_->image_size());
    const auto image_at = [&](std::int64_t place) {
      return static_cast<std::size_t>(order[static_cast<std::size_t>(place)]);
    };
    const auto source = [&](std::int64_t place, std::span<float> pixels) {
      const std::size_t image = image_at(place);
      taken_[image] = Clock::now();
      std::ranges::copy(images.subspan(image * size, size), pixels.begin());
      return true;
    };
    const auto visit = [&](std::int64_t place, const core::ExitOutput& output) {
      const std::size_t image = image_at(place);
      policy::ExitState& exit_state = exit_states_[image];
      if (!policy::should_exit(policy_, output.exit_index, output.logits, exit_state)) return false;
      outcomes.exit_index[image] = output.exit_index;
      outcomes.answers[image] = exit_state.answer;
      outcomes.seconds[image] = seconds_between(taken_[image], Clock::now());
      return true;
    };
    const auto start = Clock::now();
    runner_.run(static_cast<std::int64_t>(order.size()), source, visit);
    return seconds_between(start, Clock::now());
  }

 private:
  Split split_;
  const policy::Policy& policy_;
  std::shared_ptr<engine::OpenedModel> model_;
  engine::Runner runner_;
  std::vector<policy::ExitState> exit_states_;  // [N]
  std::vector<Clock::time_point> taken_;        // [N]
};

/// A row of the result while it is measured.
class RowTimer {
 public:
  RowTimer(BenchmarkMode mode, const ModeSetup& setup, runtime::Precision precision, int batch,
           const BenchmarkImages& images, int threads)
      : setup_(setup),
        images_(images),
        outcomes_(static_cast<std::size_t>(images.count(setup.model))) {
    row_.mode = mode;
    row_.batch = batch;
    const auto add = [&](Split split) {
      candidates_.push_back({std::make_unique<Candidate>(setup, precision, batch, split), {}});
    };
    add({threads, 1});
    if (threads > 1) add({1, threads});
    row_.precision = to_string(candidates_[0].network->model().precision());
  }

  /// Runs a few short trials of each split and keeps the faster one.
  void try_splits(const std::vector<std::int64_t>& order, double seconds) {
    for (Timed& candidate : candidates_) run_for(candidate, order, 0.1);
    for (Timed& candidate : candidates_) candidate.rates.clear();
    for (int turn = 0; turn < kTrialTurns && candidates_.size() > 1; ++turn)
      for (std::size_t i = 0; i < candidates_.size(); ++i) {
        const std::size_t place = turn % 2 == 0 ? i : candidates_.size() - 1 - i;
        run_for(candidates_[place], order, seconds);
      }
    if (candidates_.size() > 1) {
      const double first = core::median(candidates_[0].rates),
                   second = core::median(candidates_[1].rates);
      if (second > first) std::swap(candidates_[0], candidates_[1]);
      row_.other = SplitTime{candidates_[1].network->split(), std::min(first, second)};
      candidates_.pop_back();
    }
    candidates_[0].rates.clear();
  }

  void run_round(std::span<const std::int64_t> order) {
    Timed& best = candidates_[0];
    const double taken = best.network->run(images_.pixels, order, outcomes_);
    best.rates.push_back(static_cast<double>(order.size()) / taken);
    seconds_ += taken;
    for (const std::int64_t image : order)
      latencies_.push_back(outcomes_.seconds[static_cast<std::size_t>(image)]);
  }

  double seconds() const { return seconds_; }
  int rounds() const { return static_cast<int>(candidates_[0].rates.size()); }

  BenchmarkRow result(const std::vector<Ceiling>& ceilings) {
    const Timed& best = candidates_[0];
    row_.best = {best.network->split(), core::median(best.rates)};
    row_.rounds = rounds();
    row_.latency = latency_of(std::move(latencies_));
    row_.images = static_cast<std::int64_t>(outcomes_.answers.size());
    const auto count = static_cast<double>(row_.images);
    row_.shares.assign(setup_.cost.exit_macs.size(), 0);
    double macs = 0;
    std::int64_t right = 0;
    for (std::size_t i = 0; i < outcomes_.answers.size(); ++i) {
      const auto k = static_cast<std::size_t>(outcomes_.exit_index[i]);
      row_.shares[k] += 1 / count;
      macs += static_cast<double>(setup_.cost.exit_macs[k]) / count;
      if (!images_.labels.empty()) right += outcomes_.answers[i] == images_.labels[i];
    }
    row_.relative_cost = macs / static_cast<double>(setup_.cost.plain_macs);
    if (!images_.labels.empty()) row_.accuracy = static_cast<double>(right) / count;
    for (const Ceiling& ceiling : ceilings)
      if (ceiling.precision == row_.precision && !ceiling.is_invalid())
        row_.share_of_ceiling = macs * row_.best.images_per_second / ceiling.macs_per_second;
    return std::move(row_);
  }

 private:
  struct Timed {
    std::unique_ptr<Candidate> network;
    std::vector<double> rates;  ///< images per second of each run
  };

  /// Runs images from the start of `order`, repeatedly, for at least `seconds`, and adds one rate.
  void run_for(Timed& candidate, const std::vector<std::int64_t>& order, double seconds) {
    const std::size_t part =
        std::min(order.size(),
                 static_cast<std::size_t>(2 * row_.batch * candidate.network->split().streams));
    double taken = 0;
    std::size_t done = 0, begin = 0;
    while (taken < seconds) {
      const std::size_t count = std::min(part, order.size() - begin);
      taken +=
          candidate.network->run(images_.pixels, std::span(order).subspan(begin, count), outcomes_);
      done += count;
      begin = begin + count == order.size() ? 0 : begin + count;
    }
    candidate.rates.push_back(static_cast<double>(done) / taken);
  }

  const ModeSetup& setup_;
  const BenchmarkImages& images_;
  ImageOutcomes outcomes_;
  std::vector<Timed> candidates_;  // the splits; after try_splits(), the faster one only
  std::vector<double> latencies_;
  double seconds_ = 0;
  BenchmarkRow row_;
};

std::vector<BenchmarkMode> modes_of(const BenchmarkOptions& options, const model::ModelFile& model,
                                    bool policy) {
  if (!options.modes.empty()) return options.modes;
  std::vector<BenchmarkMode> modes = {BenchmarkMode::plain};
  if (policy)
    modes.push_back(BenchmarkMode::adaptive);
  else if (graph::exit_segments(model.graph).size() > 1)
    modes.push_back(BenchmarkMode::exhaustive);
  return modes;
}

/// Runs rounds of the entries in turns, until each entry has run all images, kMinRounds rounds and
/// options.seconds.
void run_rounds(std::vector<std::unique_ptr<RowTimer>>& timers,
                const std::vector<std::int64_t>& order, const BenchmarkOptions& options,
                int threads, const Progress& progress) {
  const int largest = *std::ranges::max_element(options.batches);
  const auto count = static_cast<std::int64_t>(order.size());
  // A round ends with batches that are not full. It is long enough that they hardly matter.
  const auto rounds = std::clamp<std::int64_t>(count / (16LL * largest * threads), 1, kRounds);
  const std::size_t n = timers.size();
  std::vector<bool> done(n);
  for (std::int64_t round = 0; std::ranges::count(done, true) < static_cast<std::ptrdiff_t>(n);
       ++round) {
    const std::int64_t part = round % rounds;
    const auto begin = static_cast<std::size_t>(part * count / rounds),
               end = static_cast<std::size_t>((part + 1) * count / rounds);
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t place = round % 2 == 0 ? i : n - 1 - i;
      if (done[place]) continue;
      RowTimer& timer = *timers[place];
      timer.run_round(std::span(order).subspan(begin, end - begin));
      done[place] = timer.rounds() >= std::max<std::int64_t>(rounds, kMinRounds) &&
                    timer.seconds() >= options.seconds;
    }
    progress.step(std::ranges::count(done, true), static_cast<std::int64_t>(n), "rows");
  }
}

Benchmark run(const model::ModelFile& model, const BenchmarkImages& images,
              const std::vector<runtime::Precision>& precisions, const BenchmarkOptions& options,
              const Progress& progress) {
  Benchmark result;
  result.threads = options.threads > 0 ? options.threads : core::usable_cores();
  result.data = images.source;
  result.kernels = runtime::kernels_name();
  const auto chosen = policy_for(options.policy, model);
  if (chosen) result.policy = describe(chosen->policy);
  const std::vector<BenchmarkMode> modes = modes_of(options, model, chosen.has_value());
  std::vector<ModeSetup> setups;
  for (const BenchmarkMode mode : modes)
    setups.push_back(setup_of(mode, model, chosen ? &chosen->policy : nullptr));

  const MachineLoadMeter watch;
  result.ceilings = measure_ceilings(result.threads, std::clamp(options.seconds, 0.05, 0.6));
  const std::vector<std::int64_t> order = shuffled(images.count(model));
  std::vector<std::unique_ptr<RowTimer>> timers;
  for (std::size_t m = 0; m < modes.size(); ++m)
    for (const runtime::Precision precision : precisions)
      for (const int batch : options.batches) {
        timers.push_back(std::make_unique<RowTimer>(modes[m], setups[m], precision, batch, images,
                                                    result.threads));
        timers.back()->try_splits(order, std::min(0.25, options.seconds / 8));
        progress.step(
            0, static_cast<std::int64_t>(modes.size() * precisions.size() * options.batches.size()),
            "rows");
      }
  run_rounds(timers, order, options, result.threads, progress);
  for (const auto& timer : timers) result.rows.push_back(timer->result(result.ceilings));
  result.load = watch.load();
  return result;
}

}  // namespace

std::string_view to_string(BenchmarkMode mode) {
  switch (mode) {
    case BenchmarkMode::plain:
      return "plain";
    case BenchmarkMode::adaptive:
      return "adaptive";
    case BenchmarkMode::exhaustive:
      return "exhaustive";
  }
  return "";
}

BenchmarkMode benchmark_mode_from_string(std::string_view word) {
  for (const BenchmarkMode mode :
       {BenchmarkMode::plain, BenchmarkMode::adaptive, BenchmarkMode::exhaustive})
    if (word == to_string(mode)) return mode;
  throw UsageError(
      fmt::format("mode: expected plain, adaptive or exhaustive, got {}", core::quote(word)));
}

void check(const BenchmarkOptions& options) {
  if (options.batches.empty()) throw UsageError("batches: expected at least one");
  for (const int batch : options.batches)
    if (batch < 1 || batch > 1024)
      throw UsageError(fmt::format("batches: expected 1 to 1024 images, got {}", batch));
  if (options.threads < 0)
    throw UsageError(fmt::format("threads: expected at least 0, got {}", options.threads));
  if (options.images < 0)
    throw UsageError(fmt::format("images: expected at least 0, got {}", options.images));
  if (!(options.seconds > 0) || !std::isfinite(options.seconds))
    throw UsageError(fmt::format("seconds: expected more than 0, got {}", options.seconds));
  check(options.policy);
}

Latency latency_of(std::vector<double> seconds) {
  std::ranges::sort(seconds);
  // The smallest time within which at least this share of the images had their answers.
  const auto at = [&](double share) {
    const auto rank =
        static_cast<std::size_t>(std::ceil(share * static_cast<double>(seconds.size()) - 1e-9));
    return 1e3 * seconds[std::max<std::size_t>(rank, 1) - 1];
  };
  return {at(0.5), at(0.95), at(0.99), 1e3 * seconds.back()};
}

Benchmark benchmark(const BenchmarkOptions& options, const Progress& progress) {
  check(options);
  if (is_recipe(options.model.string()) && !options.data.empty())
    throw UsageError(
        "data: a recipe's network has random weights, so there is no accuracy to measure; leave "
        "the data out");
  if (!options.keep.empty()) check_keep_folder(options);
  model::ModelFile model = model_or_recipe(options.model.string(), options.classes);
  const std::vector<runtime::Precision> precisions = precisions_to_time(options.precisions, model);
  const BenchmarkImages images = options.data.empty()
                                     ? random_benchmark_images(model, options.images)
                                     : test_benchmark_images(model, options, progress);
  if (!options.keep.empty()) export_images_and_logits(options, model, images, precisions);
  if (std::ranges::count(precisions, runtime::Precision::int8) > 0)
    model = with_ranges(model, images);
  return run(model, images, precisions, options, progress);
}

MachineCeilings measure_machine(int threads) {
  const MachineLoadMeter watch;
  MachineCeilings result{measure_ceilings(threads), {}};
  result.load = watch.load();
  return result;
}

}  // namespace offramp::workflow
