#include "train/run.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/version.h"
#include "eval/metrics.h"
#include "graph/cut_points.h"
#include "model/model_file.h"
#include "train/batches.h"
#include "train/bucketed_exchange.h"
#include "train/network.h"
#include "train/predictor.h"
#include "train/process_group.h"
#include "train/schedule.h"
#include "train/torch_setup.h"
#include "train/trainer.h"
#include "workflow/certificate_count.h"
#include "workflow/evaluate.h"

namespace offramp::train {
namespace {

using torch::Tensor;
using Clock = std::chrono::steady_clock;
using workflow::EpochReport;
using workflow::RunFolder;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::uint64_t> hashes_of(const data::Dataset& data,
                                     const std::vector<std::int64_t>& indices) {
  std::vector<std::uint64_t> result;
  result.reserve(indices.size());
  for (const std::int64_t i : indices) result.push_back(data.hashes[static_cast<std::size_t>(i)]);
  std::sort(result.begin(), result.end());
  return result;
}

// Returns the model whose network the run takes over; nullopt if the recipe describes the network.
// A resumed run takes it from its own checkpoint.
std::optional<model::ModelFile> model_with_network(const TrainRequest& request) {
  const recipe::Recipe& recipe = request.recipe;
  const recipe::ExitPlaces places = recipe::exit_places(recipe);
  OFFRAMP_ASSERT(places != recipe::ExitPlaces::automatic);
  if (places == recipe::ExitPlaces::listed) return std::nullopt;
  if (request.resume) return model::load_model(RunFolder(request.run).checkpoint());
  if (!model::is_model_file(recipe.train.from))
    throw UsageError(
        fmt::format("train.from: exits = {} takes the network from a model file, and {} holds "
                    "weights alone",
                    core::quote(recipe.network.exits[0]), recipe.train.from));
  return model::load_model(recipe.train.from);
}

graph::Graph graph_from(const model::ModelFile& source, const TrainRequest& request,
                        const data::Dataset& set) {
  const recipe::Recipe& recipe = request.recipe;
  if (source.classes != set.classes)
    throw UsageError(
        fmt::format("train.from: the classes of {} differ from those of the data, or are in "
                    "another order",
                    recipe.train.from));
  const graph::Shape& input = source.graph.input;
  if (input != graph::Shape{3, set.height, set.width})
    throw UsageError(
        fmt::format("data.image_size: the images have {}x{} pixels, the network of {} takes {}x{}",
                    set.width, set.height, recipe.train.from, input[2], input[1]));
  if (request.resume || recipe::exit_places(recipe) == recipe::ExitPlaces::from)
    return source.graph;
  const auto points = graph::places_for_exits(source.graph);
  if (points.empty())
    throw Error(
        fmt::format("{}: has no place for an early exit: before its end, no single tensor "
                    "carries everything that later layers need",
                    recipe.train.from));
  return graph::with_every_head(source.graph, points, recipe.network.heads,
                                recipe.network.spp_levels);
}

model::ModelFile describe_model(const TrainRequest& request,
                                const std::optional<model::ModelFile>& source,
                                const data::Splits& splits) {
  const recipe::Recipe& recipe = request.recipe;
  const data::LoadedData& data = *request.data;
  const data::Dataset& set = data.dataset;
  model::ModelFile model;
  model.graph = source ? graph_from(*source, request, set)
                       : graph_for(recipe, set.height, set.width,
                                   static_cast<std::int64_t>(set.classes.size()));
  model.classes = set.classes;
  if (source) {
    model.preprocessing = source->preprocessing;
  } else {
    const auto statistics = data::channel_statistics(set, splits.train);
    model.preprocessing = {set.height, set.width, recipe.data.fit, statistics.mean, statistics.std};
  }
  if (!recipe.data.mean.empty()) {
    std::ranges::copy(recipe.data.mean, model.preprocessing.mean.begin());
    std::ranges::copy(recipe.data.std, model.preprocessing.std.begin());
  }
  model.loss_weights = recipe.train.loss_weights;
  const std::size_t exits = graph::exit_segments(model.graph).size();
  // Heads at every cut point are trained independently of each other.
  const bool every = recipe::exit_places(recipe) == recipe::ExitPlaces::every;
  if (model.loss_weights.empty())
    model.loss_weights.assign(exits, every ? 1.0 : 1.0 / static_cast<double>(exits));
  if (model.loss_weights.size() != exits)
    throw UsageError(fmt::format("train.loss_weights: got {} values, the network has {} exits",
                                 model.loss_weights.size(), exits));
  model.provenance.data = {data.source, hashes_of(set, splits.train), hashes_of(set, splits.tune),
                           hashes_of(set, splits.certify)};
  return model;
}

// One training run, from its start or its checkpoint to its end: the loop over epochs, the files of
// the run folder and the evaluation on tune.
class Run {
 public:
  Run(const TrainRequest& request, const TrainEvents& events)
      : request_(request),
        recipe_(request.recipe),
        events_(events),
        folder_(request.run),
        data_(*request.data),
        group_(request.group),
        device_(device_from_name(recipe_.train.device)),
        splits_(request.splits ? *request.splits
                               : data::split_training(data_.dataset, recipe_.data.split_seed)),
        source_(model_with_network(request)),
        model_(describe_model(request, source_, splits_)),
        batch_(std::clamp<std::int64_t>(std::ssize(splits_.train), 1, recipe_.train.batch)) {
    TorchNetwork network(model_.graph, device_, recipe_.train.seed);
    set_threads(recipe_.train.threads, request.processes_here);
    keep_freed_memory();
    if (source_ && !request.resume)
      load_network(recipe_.train.from, network);
    else if (!recipe_.train.from.empty() && !request.resume)
      load_starting_weights(recipe_.train.from, network);
    source_.reset();
    if (group_ != nullptr) connect(network);
    trainer_.emplace(std::move(network), model_.loss_weights, recipe_.train,
                     std::max<std::int64_t>(std::ssize(splits_.train) / batch_, 1),
                     exchange_ ? &*exchange_ : nullptr, moments_ ? &*moments_ : nullptr);
    trainer_->watch(request.stop);
  }

  TrainOutcome run_to_end() {
    std::optional<core::FileLock> run_lock;
    on_all_ranks([&] {
      if (is_first()) run_lock.emplace(request_.resume ? folder_.resume() : folder_.start(recipe_));
    });
    if (request_.resume) load_checkpoint();
    auto batches = device_.is_cpu() ? make_loader_batches(data_.dataset, splits_.train,
                                                          loader_options(), state().step)
                                    : make_device_batches(data_.dataset, splits_.train,
                                                          loader_options(), state().step, device_);
    const std::int64_t total = recipe_.train.epochs * trainer_->steps_per_epoch();
    if (request_.resume && state().step >= total) {
      save_final_weights();  // The run may have been killed before it wrote these files.
      return TrainOutcome::already_finished;
    }
    report_start();
    // Without a checkpoint, a run that is killed in its first epoch could not be resumed.
    if (!request_.resume) save_checkpoint();
    last_checkpoint_ = Clock::now();
    while (state().step < total) {
      const bool complete = run_epoch(*batches);
      if (complete) finish_epoch();
      if (is_stopped()) {
        if (!complete) save_checkpoint();
        save_final_weights();
        return TrainOutcome::interrupted;
      }
    }
    save_final_weights();
    return TrainOutcome::finished;
  }

 private:
  const RunState& state() const { return trainer_->state(); }
  std::size_t exits() const { return model_.loss_weights.size(); }
  bool is_frozen() const { return recipe_.train.mode == recipe::Mode::frozen; }
  bool is_first() const { return group_ == nullptr || group_->is_first(); }
  // Several processes stop after the same step: they agree on it during the step.
  bool is_stopped() const {
    return group_ != nullptr ? trainer_->stop_agreed() : request_.stop && request_.stop->load();
  }

  // Does work; an error of it on one rank ends all ranks.
  void on_all_ranks(const std::function<void()>& work) const {
    if (group_ == nullptr)
      work();
    else
      group_->agree(work);
  }

  // Makes the weights of all ranks those of rank 0, and prepares the exchange of gradients and, if
  // a rank's share of a batch is small, of the moments of batch norms.
  void connect(const TorchNetwork& network) {
    if (!device_.is_cpu())
      throw UsageError("train.device: several processes train on CPUs only: use cpu");
    for (const auto& [name, tensor] : network.tensors()) group_->share(tensor);
    exchange_.emplace(*group_);
    constexpr std::int64_t kFewImages = 64;
    const bool few = batch_ / group_->world() < kFewImages;
    const recipe::SyncBatchNorm choice = recipe_.train.sync_batch_norm;
    if (choice == recipe::SyncBatchNorm::on ||
        (choice == recipe::SyncBatchNorm::automatic && few)) {
      moments_.emplace(*group_);
      exchange_->count_out(*moments_);
    }
  }

  void send_message(const std::string& line) const {
    if (events_.message) events_.message(line);
  }

  void report_start() const {
    send_message(
        fmt::format("{}: {} images to train on, {} to choose thresholds (tune), {} for guarantees "
                    "(certify); {} classes, {}x{}",
                    data_.source, splits_.train.size(), splits_.tune.size(), splits_.certify.size(),
                    model_.classes.size(), data_.dataset.width, data_.dataset.height));
    const bool bf16 = trainer_->precision() == torch::kBFloat16;
    const bool fallback = recipe_.train.precision == recipe::PrecisionChoice::automatic && !bf16;
    send_message(fmt::format("{} on {}, {} threads{}", bf16 ? "bf16" : "f32", device_.str(),
                             torch::get_num_threads(),
                             fallback ? " (no fast bf16 on this machine)" : ""));
    if (group_ != nullptr)
      send_message(fmt::format("{} ranks share each batch of {}; batch norm over the images of {}",
                               group_->world(), batch_, moments_ ? "all ranks" : "one rank"));
    if (request_.resume)
      send_message(
          fmt::format("resuming after step {} (epoch {})", state().step, trainer_->epoch()));
  }

  /// Trains to the end of the epoch.
  /// @return true if the epoch is complete, false if the run was stopped
  bool run_epoch(Batches& batches) {
    const double interval = 60 * recipe_.train.checkpoint_every;
    try {
      return trainer_->run_epoch(batches, [&] {
        report_step();
        if (is_stopped()) return false;
        const bool due = interval > 0 && seconds_since(last_checkpoint_) > interval;
        if (due && !trainer_->is_at_end_of_epoch()) save_checkpoint();
        return true;
      });
    } catch (const NotFinite& e) {
      throw_with_checkpoint(e);
    }
  }

  data::BatchLoaderOptions loader_options() const {
    data::BatchLoaderOptions options;
    options.batch = static_cast<int>(batch_);
    options.seed = recipe_.train.seed;
    options.augmentation = recipe_.train.augmentation;
    options.preprocessing = model_.preprocessing;
    if (group_ != nullptr) {
      options.rank = group_->rank();
      options.world = group_->world();
    }
    return options;
  }

  // Takes over from the starting model the hashes of its training images, which this model is then
  // also trained on, and its preprocessing unless the recipe sets it.
  void adopt_provenance(const model::ModelFile& from, const std::string& file) {
    if (is_frozen() && from.classes != model_.classes)
      throw UsageError(fmt::format(
          "train.from: the classes of {} differ from those of the data, or are in another order; a "
          "frozen network cannot learn them",
          file));
    model::DataProvenance& own_parts = model_.provenance.data;
    const std::vector<std::uint64_t>& seen = from.provenance.data.train;
    for (const std::uint64_t hash : seen)
      if (std::ranges::binary_search(own_parts.tune, hash) ||
          std::ranges::binary_search(own_parts.certify, hash))
        throw UsageError(
            fmt::format("train.from: {} was trained on images of this run's tune or certify part; "
                        "give its data.split_seed",
                        file));
    std::vector<std::uint64_t> all;
    std::ranges::set_union(seen, own_parts.train, std::back_inserter(all));
    own_parts.train = std::move(all);
    // Certificates of the starting model that used these certify images count for this model too.
    if (workflow::share_certify_images(from, model_)) model_.certificates = from.certificates;
    if (!recipe_.data.mean.empty()) return;
    model_.preprocessing.mean = from.preprocessing.mean;
    model_.preprocessing.std = from.preprocessing.std;
  }

  // Loads the weights of the model whose network is trained, apart from those of new heads.
  void load_network(const std::string& file, TorchNetwork& network) {
    const bool every = recipe::exit_places(recipe_) == recipe::ExitPlaces::every;
    const int last = graph::exit_segments(model_.graph).back();
    core::Tensors weights;
    std::size_t num_new = 0;
    for (const graph::Parameter& p : network.parameters()) {
      const auto found = source_->weights.find(p.name);
      if ((every && p.in_head && p.segment != last) || found == source_->weights.end())
        ++num_new;
      else
        weights.insert(*found);
    }
    network.load(weights);
    adopt_provenance(*source_, file);
    send_message(fmt::format("{}: {} tensors loaded, {} initialised at random", file,
                             weights.size(), num_new));
    if (every)
      send_message(fmt::format("{} early exits: {} after each of {} cut points", exits() - 1,
                               fmt::join(recipe_.network.heads, ", "),
                               (exits() - 1) / recipe_.network.heads.size()));
  }

  void load_starting_weights(const std::string& file, TorchNetwork& network) {
    std::size_t num_skipped = 0;
    const core::Tensors weights = model::load_weights(file, model_.graph, true, &num_skipped);
    try {
      network.load(weights);
    } catch (const Error& e) {
      core::throw_with_place(file, e);
    }
    if (model::is_model_file(file)) adopt_provenance(model::load_model(file), file);
    for (const graph::Parameter& p : network.parameters())
      if (is_frozen() && p.in_head && p.segment == graph::exit_segments(model_.graph).back() &&
          !weights.contains(p.name))
        throw UsageError(fmt::format(
            "train.mode: frozen keeps the last exit as it is, but {} has no classifier for these "
            "{} classes; use joint or mixed",
            file, model_.classes.size()));
    const std::size_t missing = network.tensors().size() - weights.size();
    std::string text = fmt::format("{}: {} tensors loaded, {} initialised at random", file,
                                   weights.size(), missing);
    if (num_skipped > 0)
      text += fmt::format(
          "; {} ignored: they belong to exits or blocks that this network does not have",
          num_skipped);
    send_message(text);
  }

  void report_step() const {
    if (!events_.step) return;
    const std::int64_t steps = trainer_->steps_per_epoch();
    StepReport report;
    report.epoch = trainer_->epoch();
    report.epochs = recipe_.train.epochs;
    report.step = (state().step - 1) % steps + 1;
    report.steps_per_epoch = steps;
    report.loss = state().loss_sum / static_cast<double>(report.step);
    report.accuracy = trainer_->train_accuracy();
    report.learning_rate = trainer_->last_rate();
    report.images_per_second = static_cast<double>(state().seen) / state().epoch_seconds;
    const double total = static_cast<double>(recipe_.train.epochs * steps);
    const auto done = static_cast<double>(state().step);
    report.seconds_left = state().seconds / done * (total - done);
    events_.step(report);
  }

  // Computes the logits of the tune images. Each rank evaluates its share of the batches, and then
  // has the logits of all.
  eval::SavedLogits run_shared(core::Predictor& predictor) const {
    const workflow::EvaluationSet all{&data_.dataset, splits_.tune, &model_.preprocessing};
    if (group_ == nullptr) return workflow::run_all_exits(predictor, all);
    const auto images = std::ssize(all.indices);
    const std::int64_t batches = (images + all.batch - 1) / all.batch;
    const auto begin_of = [&](std::int64_t rank) {
      return std::min<std::int64_t>(images, batches * rank / group_->world() * all.batch);
    };
    const std::int64_t begin = begin_of(group_->rank()), end = begin_of(group_->rank() + 1);
    workflow::EvaluationSet own = all;
    own.indices.assign(all.indices.begin() + begin, all.indices.begin() + end);
    eval::SavedLogits result = workflow::run_all_exits(predictor, own);
    // The rows of the other ranks are 0 here, so the sum over the ranks is exact.
    const Tensor logits = torch::zeros({result.exits, images, result.classes});
    if (end > begin)
      logits.slice(1, begin, end)
          .copy_(
              torch::from_blob(result.logits.data(), {result.exits, end - begin, result.classes}));
    group_->sum(logits, ProcessGroup::Channel::start);
    result.logits.assign(logits.data_ptr<float>(), logits.data_ptr<float>() + logits.numel());
    result.labels.clear();
    result.hashes.clear();
    for (const std::int64_t i : all.indices) {
      result.labels.push_back(data_.dataset.labels[static_cast<std::size_t>(i)]);
      result.hashes.push_back(data_.dataset.hashes[static_cast<std::size_t>(i)]);
    }
    return result;
  }

  // Checks that all ranks have the same weights and statistics to the bit, and reports a slow rank.
  void compare_ranks() {
    core::HashOfValues hash;
    for (const auto& [name, tensor] : trainer_->tensors()) {
      const Tensor flat = tensor.detach().contiguous();
      hash.add(name);
      hash.add(
          std::span<const float>(flat.data_ptr<float>(), static_cast<std::size_t>(flat.numel())));
    }
    const std::vector<std::string> hashes = group_->gather(hash.text());
    for (std::size_t rank = 0; rank < hashes.size(); ++rank)
      if (hashes[rank] != hashes[0])
        throw Error(fmt::format("step {}: the weights of rank {} differ from those of rank 0",
                                state().step, rank));
    if (const auto text = slow_rank_text(exchange_->seconds_of_ranks())) send_message(*text);
  }

  // Evaluates on tune the weights that would be deployed: the averaged ones if there is an average.
  eval::Metrics evaluate() {
    const eval::SavedLogits logits =
        trainer_->with_deployed([&](TorchNetwork& network, const TorchNetwork::Mode& mode) {
          const auto predictor = make_torch_predictor(network, mode);
          return run_shared(*predictor);
        });
    return eval::measure(logits.view(), model_.loss_weights);
  }

  void finish_epoch() {
    check_weights();
    if (group_ != nullptr) compare_ranks();
    EpochReport report;
    report.epoch = trainer_->epoch();
    report.epochs = recipe_.train.epochs;
    report.loss = state().loss_sum / static_cast<double>(trainer_->steps_per_epoch());
    report.train_accuracy = trainer_->train_accuracy();
    report.learning_rate = trainer_->last_rate();
    report.images_per_second = static_cast<double>(state().seen) / state().epoch_seconds;
    report.seconds = state().seconds;
    report.loader_wait = state().epoch_wait / state().epoch_seconds;
    const eval::Metrics metrics = evaluate();
    double score = 0;
    for (std::size_t k = 0; k < exits(); ++k) {
      report.tune_accuracy.push_back(metrics.exits[k].accuracy);
      report.tune_nll.push_back(metrics.exits[k].nll);
      score += model_.loss_weights[k] * metrics.exits[k].accuracy;
    }
    tune_accuracy_ = report.tune_accuracy;
    // While only the last exit is trained, the early exits are random, so these weights must not
    // become the best.
    const bool candidate =
        !is_backbone_phase(recipe_.train, state().step - 1, trainer_->steps_per_epoch());
    report.best = candidate && score > state().best_score;
    if (report.best) {
      save_deployed(folder_.best());
      save_deployed(folder_.model());
    }
    trainer_->begin_epoch(report.best ? score : state().best_score);
    // The line is logged before the checkpoint is saved: resuming removes lines after the
    // checkpoint, but it cannot restore a missing line.
    if (is_first()) folder_.log(report);
    save_checkpoint();
    if (events_.epoch) events_.epoch(report);
  }

  workflow::TrainingDetails details() const {
    return {.recipe = recipe::to_toml(recipe_),
            .seed = recipe_.train.seed,
            .commit = core::kCommit,
            .version = core::kVersion,
            .step = state().step,
            .epoch = static_cast<double>(state().step) /
                     static_cast<double>(trainer_->steps_per_epoch()),
            .precision = trainer_->precision() == torch::kBFloat16 ? "bf16" : "f32",
            .device = device_.str(),
            .threads = torch::get_num_threads(),
            .seconds = state().seconds,
            .tune_accuracy = tune_accuracy_};
  }

  void save(const std::filesystem::path& file, core::Tensors weights,
            const core::Tensors& extra = {}) {
    if (!is_first()) return;
    model_.weights = std::move(weights);
    model_.provenance.details_json = to_json(details());
    if (folder_.save(file, model_, extra))
      send_message(fmt::format(
          "{}: keeps the policy that was chosen for earlier weights, without its guarantee; "
          "calibrate it again",
          file.string()));
    model_.weights.clear();
  }

  void save_deployed(const std::filesystem::path& file) {
    save(file, trainer_->with_deployed([](const TorchNetwork& network, const TorchNetwork::Mode&) {
      return network.save();
    }));
  }

  void check_weights() const {
    try {
      trainer_->check_weights();
    } catch (const NotFinite& e) {
      throw_with_checkpoint(e);
    }
  }

  [[noreturn]] void throw_with_checkpoint(const NotFinite& e) const {
    throw Error(fmt::format("{}; the last good checkpoint is kept: {}", e.what(),
                            folder_.checkpoint().string()));
  }

  void save_checkpoint() {
    check_weights();
    save(folder_.checkpoint(), trainer_->weights(), trainer_->save());
    last_checkpoint_ = Clock::now();
  }

  // Saves the last weights and their average; they may differ from the best on tune.
  void save_final_weights() {
    save(folder_.last(), trainer_->weights());
    if (trainer_->has_average()) save_deployed(folder_.ema());
  }

  void load_checkpoint() {
    auto path = folder_.checkpoint();
    // The run folder may be on the disk of rank 0 alone.
    std::optional<core::TemporaryFolder> copy;
    if (group_ != nullptr) {
      std::vector<std::byte> bytes;
      on_all_ranks([&] {
        if (is_first()) bytes = core::read_file(path);
      });
      group_->share(bytes);
      if (!is_first()) {
        path = copy.emplace().path() / path.filename();
        const std::span<const std::byte> part = bytes;
        core::write_file_atomic(path, std::span(&part, 1));
      }
    }
    core::Tensors extra;
    const model::ModelFile saved = model::load_model(path, &extra);
    try {
      if (saved.graph != model_.graph) throw Error("the recipe now describes another network");
      if (saved.classes != model_.classes) throw Error("the data now have other classes");
      const model::DataProvenance &then = saved.provenance.data, &now = model_.provenance.data;
      // The checkpoint also lists the training images of the model the run started from.
      if (!std::ranges::includes(then.train, now.train) || then.tune != now.tune ||
          then.certify != now.certify)
        throw Error("the training images are not those the run began with");
      model_.provenance.data = then;
      model_.preprocessing = saved.preprocessing;
      model_.certificates = saved.certificates;
      trainer_->load(saved.weights, extra);
      tune_accuracy_ = workflow::training_details(saved).tune_accuracy;
    } catch (const Error& e) {
      core::throw_with_place(path.string(), e);
    }
    if (is_first())
      folder_.remove_epochs_after(static_cast<int>(state().step / trainer_->steps_per_epoch()));
  }

  const TrainRequest& request_;
  recipe::Recipe recipe_;
  const TrainEvents& events_;
  RunFolder folder_;
  const data::LoadedData& data_;
  ProcessGroup* group_;  // null for one process
  torch::Device device_;
  data::Splits splits_;
  // The starting model; only while the run is being set up.
  std::optional<model::ModelFile> source_;
  model::ModelFile model_;
  std::int64_t batch_;  // images per step
  std::optional<GroupMoments> moments_;
  std::optional<BucketedExchange> exchange_;
  std::optional<Trainer> trainer_;
  Clock::time_point last_checkpoint_;
  std::vector<double> tune_accuracy_;
};

}  // namespace

graph::Graph graph_for(const recipe::Recipe& recipe, int height, int width, std::int64_t classes) {
  graph::NetworkSpec spec = recipe.network;
  spec.options.input = {3, height, width};
  spec.options.classes = classes;
  return graph::build_network(spec);
}

TrainOutcome train(const TrainRequest& request, const TrainEvents& events) {
  return translate_torch_errors([&] {
    const TrainOutcome outcome = Run(request, events).run_to_end();
    // The process of rank 0 may serve the meeting point, so it must not end before the others.
    if (request.group != nullptr) request.group->wait_for_all();
    return outcome;
  });
}

}  // namespace offramp::train
