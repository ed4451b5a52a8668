#include "cli/bench.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>

#include "cli/terminal.h"
#include "core/error.h"
#include "core/random.h"
#include "graph/cost.h"
#include "model/without_exits.h"

namespace offramp::cli {
namespace {

constexpr int kRounds = 8;      // over the images, at most
constexpr int kMinRounds = 5;   // for a median
constexpr int kTrialTurns = 3;  // of each split

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<std::int64_t> shuffled(std::int64_t count) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  KeyedRandom random(1, 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

/// What a mode runs.
struct Subject {
  ModelFile model;
  Policy policy;
  Cost cost;
};

Subject subject_of(const std::string& mode, const ModelFile& model, const Policy* policy) {
  Subject subject{model, never_stop(static_cast<int>(exit_segments(model.graph).size())), {}};
  if (mode == "plain") {
    std::vector<int> early(subject.policy.thresholds.size());
    std::iota(early.begin(), early.end(), 0);
    if (!early.empty()) {
      subject.model.policy.reset();
      subject.model = without_exits(subject.model, early);
    }
    subject.policy = never_stop(1);
  } else if (mode == "adaptive") {
    if (policy == nullptr)
      throw UsageError("--mode adaptive: the model has no policy; --threshold gives one");
    subject.policy = *policy;
  } else if (mode != "exhaustive") {
    throw UsageError("--mode: expected plain, adaptive or exhaustive, got {}", quote(mode));
  }
  subject.cost = cost_of(subject.model.graph);
  return subject;
}

/// A row while it is measured.
class Entry {
 public:
  Entry(const std::string& mode, const Subject& subject, Precision precision, int batch,
        const BenchImages& images, int threads)
      : subject_(subject),
        images_(images),
        outcomes_(static_cast<std::size_t>(images.count(subject.model))) {
    row_.mode = mode;
    row_.precision = to_string(precision);
    row_.batch = batch;
    TimedStreamsOptions options{precision, batch, {threads, 1}, {}};
    if (subject.model.deployment) options.ranges = subject.model.deployment->ranges;
    const auto add = [&](Split split) {
      options.split = split;
      candidates_.push_back(make(options));
    };
    add({threads, 1});
    if (threads > 1) add({1, threads});
  }

  /// Settles the split by a few short turns of each.
  void try_splits(const std::vector<std::int64_t>& order, double seconds) {
    for (Candidate& candidate : candidates_) run_for(candidate, order, 0.1);
    for (Candidate& candidate : candidates_) candidate.rates.clear();
    for (int turn = 0; turn < kTrialTurns && candidates_.size() > 1; ++turn)
      for (std::size_t i = 0; i < candidates_.size(); ++i) {
        const std::size_t place = turn % 2 == 0 ? i : candidates_.size() - 1 - i;
        run_for(candidates_[place], order, seconds);
      }
    if (candidates_.size() > 1) {
      const double first = median(candidates_[0].rates), second = median(candidates_[1].rates);
      if (second > first) std::swap(candidates_[0], candidates_[1]);
      row_.other = SplitTime{candidates_[1].split, std::min(first, second)};
      candidates_.pop_back();
    }
    candidates_[0].rates.clear();
  }

  void run_round(std::span<const std::int64_t> order) {
    Candidate& best = candidates_[0];
    const double taken = best.streams->run(images_.pixels, order, subject_.policy, outcomes_);
    best.rates.push_back(static_cast<double>(order.size()) / taken);
    seconds_ += taken;
    for (const std::int64_t image : order)
      latencies_.push_back(outcomes_.seconds[static_cast<std::size_t>(image)]);
  }

  double seconds() const { return seconds_; }
  int rounds() const { return static_cast<int>(candidates_[0].rates.size()); }

  BenchRow result(const std::vector<Ceiling>& ceilings) {
    const Candidate& best = candidates_[0];
    row_.best = {best.split, median(best.rates)};
    row_.rounds = rounds();
    row_.latency = latency_of(std::move(latencies_));
    row_.images = static_cast<std::int64_t>(outcomes_.answers.size());
    const auto count = static_cast<double>(row_.images);
    row_.shares.assign(subject_.cost.exit_macs.size(), 0);
    double macs = 0;
    std::int64_t right = 0;
    for (std::size_t i = 0; i < outcomes_.answers.size(); ++i) {
      const auto k = static_cast<std::size_t>(outcomes_.exit_index[i]);
      row_.shares[k] += 1 / count;
      macs += static_cast<double>(subject_.cost.exit_macs[k]) / count;
      if (!images_.labels.empty()) right += outcomes_.answers[i] == images_.labels[i];
    }
    row_.relative_cost = macs / static_cast<double>(subject_.cost.plain_macs);
    if (!images_.labels.empty()) row_.accuracy = static_cast<double>(right) / count;
    for (const Ceiling& ceiling : ceilings)
      if (ceiling.precision == row_.precision && !ceiling.is_void())
        row_.share_of_ceiling = macs * row_.best.images_per_second / ceiling.macs_per_second;
    return std::move(row_);
  }

 private:
  struct Candidate {
    Split split;
    std::unique_ptr<TimedStreams> streams;
    std::vector<double> rates;
  };

  Candidate make(const TimedStreamsOptions& options) const {
    return {options.split,
            std::make_unique<TimedStreams>(subject_.model.graph, subject_.model.weights, options),
            {}};
  }

  /// Runs images from the start of the order, over and over, and adds one rate.
  void run_for(Candidate& candidate, const std::vector<std::int64_t>& order, double seconds) {
    const std::size_t part =
        std::min(order.size(), static_cast<std::size_t>(2 * row_.batch * candidate.split.streams));
    double taken = 0;
    std::size_t done = 0, begin = 0;
    while (taken < seconds) {
      const std::size_t count = std::min(part, order.size() - begin);
      taken += candidate.streams->run(images_.pixels, std::span(order).subspan(begin, count),
                                      subject_.policy, outcomes_);
      done += count;
      begin = begin + count == order.size() ? 0 : begin + count;
    }
    candidate.rates.push_back(static_cast<double>(done) / taken);
  }

  const Subject& subject_;
  const BenchImages& images_;
  ImageOutcomes outcomes_;
  std::vector<Candidate> candidates_;  // the best first, once tried
  std::vector<double> latencies_;
  double seconds_ = 0;
  BenchRow row_;
};

bool has_ranges(const ModelFile& model) {
  return model.deployment && !model.deployment->ranges.empty();
}

std::vector<std::string> modes_of(const BenchFlags& flags, const ModelFile& model, bool policy) {
  if (!flags.modes.empty()) return flags.modes;
  std::vector<std::string> modes = {"plain"};
  if (policy)
    modes.push_back("adaptive");
  else if (exit_segments(model.graph).size() > 1)
    modes.push_back("exhaustive");
  return modes;
}

/// Rounds of every entry, in turns, until each has run all images and for long enough.
void run_rounds(std::vector<std::unique_ptr<Entry>>& entries,
                const std::vector<std::int64_t>& order, const BenchFlags& flags, int threads) {
  const int largest = *std::ranges::max_element(flags.batches);
  const auto count = static_cast<std::int64_t>(order.size());
  // A round ends with batches that are not full: it must be long for them not to count.
  const auto rounds = std::clamp<std::int64_t>(count / (16LL * largest * threads), 1, kRounds);
  const std::size_t n = entries.size();
  std::vector<bool> done(n);
  Counter counter(static_cast<std::int64_t>(n), "rows");
  for (std::int64_t round = 0; std::ranges::count(done, true) < static_cast<std::ptrdiff_t>(n);
       ++round) {
    const std::int64_t part = round % rounds;
    const auto begin = static_cast<std::size_t>(part * count / rounds),
               end = static_cast<std::size_t>((part + 1) * count / rounds);
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t place = round % 2 == 0 ? i : n - 1 - i;
      if (done[place]) continue;
      Entry& entry = *entries[place];
      entry.run_round(std::span(order).subspan(begin, end - begin));
      done[place] = entry.rounds() >= std::max<std::int64_t>(rounds, kMinRounds) &&
                    entry.seconds() >= flags.seconds;
    }
    counter.show(std::ranges::count(done, true));
  }
}

}  // namespace

std::int64_t BenchImages::count(const ModelFile& model) const {
  return static_cast<std::int64_t>(pixels.size()) / element_count(model.graph.input);
}

Latency latency_of(std::vector<double> seconds) {
  std::ranges::sort(seconds);
  // The smallest time that at least this share of the images kept to.
  const auto at = [&](double share) {
    const auto rank =
        static_cast<std::size_t>(std::ceil(share * static_cast<double>(seconds.size()) - 1e-9));
    return 1e3 * seconds[std::max<std::size_t>(rank, 1) - 1];
  };
  return {at(0.5), at(0.95), at(0.99), 1e3 * seconds.back()};
}

ModelFile with_ranges(const ModelFile& model, const BenchImages& images) {
  if (has_ranges(model)) return model;
  if (!images.labels.empty())
    throw Error(
        "int8 needs the ranges of activations: bench a file that \"offramp quantize\" wrote");
  constexpr std::int64_t kImages = 16;
  const std::int64_t size = element_count(model.graph.input);
  const auto seen = static_cast<std::size_t>(std::min(kImages, images.count(model)) * size);
  ModelFile result = model;
  result.deployment = Deployment{
      "int8",
      observe_ranges(model.graph, model.weights, std::span(images.pixels).first(seen), 1),
      {},
      {}};
  return result;
}

std::vector<Precision> precisions_of(const BenchFlags& flags, const ModelFile& model) {
  std::vector<Precision> precisions;
  for (const std::string& word : flags.precisions) {
    const Precision precision = precision_from_string(word);
    if (!has_instructions_for(precision)) throw Error("this CPU has no instructions for {}", word);
    precisions.push_back(precision);
  }
  if (precisions.empty())
    for (const Precision precision : {Precision::f32, Precision::bf16, Precision::int8}) {
      const bool known = precision != Precision::int8 || has_ranges(model);
      if (known && has_instructions_for(precision)) precisions.push_back(precision);
    }
  return precisions;
}

BenchResult bench(const ModelFile& given, const BenchImages& images, const BenchFlags& flags) {
  if (images.count(given) < 1) throw Error("no images to time a network on");
  const std::vector<Precision> precisions = precisions_of(flags, given);
  const bool int8 = std::ranges::count(precisions, Precision::int8) > 0;
  const ModelFile model = int8 ? with_ranges(given, images) : given;
  BenchResult result;
  result.threads = flags.threads > 0
                       ? flags.threads
                       : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  result.data = images.source;
  const auto chosen = policy_of(flags.policy, model, {});
  if (chosen) result.policy = describe(chosen->policy);
  std::vector<Subject> subjects;
  const std::vector<std::string> modes = modes_of(flags, model, chosen.has_value());
  for (const std::string& mode : modes)
    subjects.push_back(subject_of(mode, model, chosen ? &chosen->policy : nullptr));

  const MachineWatch watch;
  result.ceilings = measure_ceilings(result.threads, std::clamp(flags.seconds, 0.05, 0.6));
  const std::vector<std::int64_t> order = shuffled(images.count(model));
  std::vector<std::unique_ptr<Entry>> entries;
  for (std::size_t m = 0; m < modes.size(); ++m)
    for (const Precision precision : precisions)
      for (const int batch : flags.batches) {
        entries.push_back(std::make_unique<Entry>(modes[m], subjects[m], precision, batch, images,
                                                  result.threads));
        entries.back()->try_splits(order, std::min(0.25, flags.seconds / 8));
      }
  run_rounds(entries, order, flags, result.threads);
  for (const auto& entry : entries) result.rows.push_back(entry->result(result.ceilings));
  result.load = watch.load();
  return result;
}

}  // namespace offramp::cli
