#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "core/version.h"
#include "eval/metrics.h"
#include "model/model_file.h"
#include "train/batches.h"
#include "train/loss.h"
#include "train/network.h"
#include "train/optimizer.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/torch_setup.h"

namespace offramp::train {
namespace {

using torch::Tensor;
using Clock = std::chrono::steady_clock;
using json = nlohmann::ordered_json;

constexpr int kEvaluationBatch = 250;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::uint64_t> hashes_of(const Dataset& data,
                                     const std::vector<std::int64_t>& indices) {
  std::vector<std::uint64_t> result;
  result.reserve(indices.size());
  for (const std::int64_t i : indices) result.push_back(data.hashes[static_cast<std::size_t>(i)]);
  std::sort(result.begin(), result.end());
  return result;
}

ModelFile describe_model(const Recipe& recipe, const LoadedData& data, const Splits& splits) {
  const Dataset& set = data.dataset;
  ModelFile model;
  model.graph =
      graph_for(recipe, set.height, set.width, static_cast<std::int64_t>(set.classes.size()));
  model.classes = set.classes;
  const auto statistics = channel_statistics(set, splits.train);
  model.preprocessing = {set.height, set.width, recipe.data.fit, statistics.mean, statistics.std};
  if (!recipe.data.mean.empty()) {
    std::ranges::copy(recipe.data.mean, model.preprocessing.mean.begin());
    std::ranges::copy(recipe.data.std, model.preprocessing.std.begin());
  }
  model.loss_weights = recipe.train.loss_weights;
  const std::size_t exits = exit_segments(model.graph).size();
  if (model.loss_weights.empty())
    model.loss_weights.assign(exits, 1.0 / static_cast<double>(exits));
  if (model.loss_weights.size() != exits)
    throw UsageError("train.loss_weights: got {} values, the network has {} exits",
                     model.loss_weights.size(), exits);
  model.provenance.data = {data.source, hashes_of(set, splits.train), hashes_of(set, splits.tune),
                           hashes_of(set, splits.certify)};
  return model;
}

// One training run from its start or its checkpoint to its end.
class Run {
 public:
  Run(const TrainRequest& request, const TrainEvents& events)
      : request_(request),
        recipe_(request.recipe),
        events_(events),
        folder_(request.run),
        data_(*request.data),
        device_(device_named(recipe_.train.device)),
        splits_(split_training(data_.dataset, recipe_.data.split_seed)),
        model_(describe_model(recipe_, data_, splits_)),
        network_(model_.graph, device_, recipe_.train.seed) {
    set_threads(recipe_.train.threads);
    keep_freed_memory();
    mode_.training = true;
    mode_.precision = resolve_precision(recipe_.train.precision, device_);
    mode_.frozen_backbone = recipe_.train.mode == Mode::frozen;
    mode_.gradient_equilibrium = recipe_.train.gradient_equilibrium;
    check_training_sizes();
    if (mode_.frozen_backbone) freeze_backbone();
    if (!recipe_.train.from.empty() && !request.resume) start_from(recipe_.train.from);
    updater_.emplace(network_, recipe_.train);
    if (recipe_.train.ema > 0) average_.emplace(network_, recipe_.train.ema);
    state_.correct.assign(exits(), 0);
  }

  TrainOutcome go() {
    if (request_.resume) {
      load_checkpoint();
    } else {
      folder_.start(recipe_);
    }
    auto batches = device_.is_cpu() ? make_loader_batches(data_.dataset, splits_.train,
                                                          loader_options(), state_.step)
                                    : make_device_batches(data_.dataset, splits_.train,
                                                          loader_options(), state_.step, device_);
    steps_per_epoch_ = batches->steps_per_epoch();
    const std::int64_t total = recipe_.train.epochs * steps_per_epoch_;
    if (request_.resume && state_.step >= total) {
      save_outcome();  // killed between the last checkpoint and these
      return TrainOutcome::already_finished;
    }
    announce();
    // Without one, a run killed in its first epoch could not be resumed.
    if (!request_.resume) save_checkpoint();
    auto last_checkpoint = Clock::now();
    while (state_.step < total) {
      train_step(*batches);
      const bool epoch_done = state_.step % steps_per_epoch_ == 0;
      if (epoch_done) {
        finish_epoch();
        last_checkpoint = Clock::now();
      }
      if (request_.stop && request_.stop->load()) {
        if (!epoch_done) save_checkpoint();
        save_outcome();
        return TrainOutcome::interrupted;
      }
      const double minutes = recipe_.train.checkpoint_every;
      if (minutes > 0 && !epoch_done && seconds_since(last_checkpoint) > 60 * minutes) {
        save_checkpoint();
        last_checkpoint = Clock::now();
      }
    }
    save_outcome();
    return TrainOutcome::finished;
  }

 private:
  std::size_t exits() const { return model_.loss_weights.size(); }
  int epoch() const {
    return static_cast<int>((state_.step + steps_per_epoch_ - 1) / steps_per_epoch_);
  }

  void tell(const std::string& line) const {
    if (events_.message) events_.message(line);
  }

  void announce() const {
    tell(fmt::format("{}: {} images to train on, {} to tune, {} kept to certify; {} classes, {}x{}",
                     data_.source, splits_.train.size(), splits_.tune.size(),
                     splits_.certify.size(), model_.classes.size(), data_.dataset.width,
                     data_.dataset.height));
    const bool bf16 = mode_.precision == torch::kBFloat16;
    const bool fallback = recipe_.train.precision == PrecisionChoice::automatic && !bf16;
    tell(fmt::format("{} on {}, {} threads{}", bf16 ? "bf16" : "f32", device_.str(),
                     torch::get_num_threads(), fallback ? " (no fast bf16 on this machine)" : ""));
    if (request_.resume)
      tell(fmt::format("resuming after step {} (epoch {})", state_.step, epoch()));
  }

  LoaderOptions loader_options() const {
    LoaderOptions options;
    options.batch = static_cast<int>(
        std::min<std::size_t>(static_cast<std::size_t>(recipe_.train.batch), splits_.train.size()));
    options.seed = recipe_.train.seed;
    options.augmentation = recipe_.train.augmentation;
    options.preprocessing = model_.preprocessing;
    return options;
  }

  void freeze_backbone() {
    const auto segments = exit_segments(model_.graph);
    for (const Parameter& p : network_.parameters())
      if (!p.in_head || p.segment == segments.back()) {
        Tensor tensor = network_.tensors().at(p.name);
        tensor.set_requires_grad(false);
      }
  }

  // What a starting model has seen stays seen, and it goes on seeing images as it is used to.
  void take_over(const ModelFile& from, const std::string& file) {
    if (mode_.frozen_backbone && from.classes != model_.classes)
      throw UsageError(
          "train.from: {} names other classes than the data, or in another order; a "
          "frozen network cannot learn them",
          file);
    DataProvenance& ours = model_.provenance.data;
    const std::vector<std::uint64_t>& seen = from.provenance.data.train;
    for (const std::uint64_t hash : seen)
      if (std::ranges::binary_search(ours.tune, hash) ||
          std::ranges::binary_search(ours.certify, hash))
        throw UsageError(
            "train.from: {} was trained on images of this run's tune or certify part; "
            "give its data.split_seed",
            file);
    std::vector<std::uint64_t> all;
    std::ranges::set_union(seen, ours.train, std::back_inserter(all));
    ours.train = std::move(all);
    // Certificates that it drew from these images are drawn from them for its child too.
    const auto shared = [&](std::uint64_t hash) {
      return std::ranges::binary_search(ours.certify, hash);
    };
    if (std::ranges::any_of(from.provenance.data.certify, shared))
      model_.certificates = from.certificates;
    if (!recipe_.data.mean.empty()) return;
    model_.preprocessing.mean = from.preprocessing.mean;
    model_.preprocessing.std = from.preprocessing.std;
  }

  void start_from(const std::string& file) {
    std::size_t passed_over = 0;
    const Tensors weights = load_weights(file, model_.graph, true, &passed_over);
    try {
      network_.load(weights);
    } catch (const Error& e) {
      throw_with_place(file, e);
    }
    if (is_model_file(file)) take_over(load_model(file), file);
    for (const Parameter& p : network_.parameters())
      if (mode_.frozen_backbone && p.in_head && p.segment == exit_segments(model_.graph).back() &&
          !weights.contains(p.name))
        throw UsageError(
            "train.mode: frozen keeps the last exit as it is, but {} has no classifier for these "
            "{} classes; use joint or mixed",
            file, model_.classes.size());
    const std::size_t missing = network_.tensors().size() - weights.size();
    std::string text =
        fmt::format("{}: {} tensors taken over, {} start new", file, weights.size(), missing);
    if (passed_over > 0)
      text += fmt::format("; {} left out, of exits and blocks that this network does not have",
                          passed_over);
    tell(text);
  }

  ImageSize size_of_epoch(std::int64_t epoch) const {
    return training_size(recipe_.train, {data_.dataset.height, data_.dataset.width}, epoch);
  }

  // A network may be unable to run on smaller images.
  void check_training_sizes() const {
    for (std::int64_t epoch = 0; epoch < recipe_.train.epochs; ++epoch) {
      const ImageSize size = size_of_epoch(epoch);
      Graph graph = model_.graph;
      graph.input = {graph.input[0], size.height, size.width};
      try {
        const auto needed = parameters(graph), ours = network_.parameters();
        for (std::size_t i = 0; i < ours.size(); ++i)
          if (needed[i].shape != ours[i].shape)
            throw Error("{} depends on the size of the images", ours[i].name);
      } catch (const Error& e) {
        throw UsageError("train.first_scale: the network cannot run on {} x {} pixels: {}",
                         size.width, size.height, e.what());
      }
    }
  }

  // The batch at the size that this epoch trains at; smoothed before it is made smaller.
  Tensor resized(const Tensor& images) const {
    const ImageSize size = size_of_epoch(state_.step / steps_per_epoch_);
    if (images.size(2) == size.height && images.size(3) == size.width) return images;
    return at::_upsample_bilinear2d_aa(images, {size.height, size.width}, false)
        .contiguous(at::MemoryFormat::ChannelsLast);
  }

  void train_step(Batches& batches) {
    const auto start = Clock::now();
    const double waited = batches.seconds_waited();
    const TensorBatch batch = batches.next();
    mode_.last_exit_only = backbone_phase(recipe_.train, state_.step, steps_per_epoch_);
    const double rate = learning_rate(recipe_.train, state_.step, steps_per_epoch_);
    const auto logits = network_.forward(resized(batch.images), mode_);
    // Alone, the last exit learns as in the plain network: its loss counts in full.
    std::vector<double> weights = model_.loss_weights;
    if (mode_.last_exit_only) weights.back() = 1;
    const Tensor loss = exit_loss(logits, batch.labels, weights, recipe_.train);
    const double value = loss.item<double>();
    if (!std::isfinite(value)) throw_not_finite(logits, value, rate);
    loss.backward();
    updater_->step(rate);
    last_rate_ = rate;
    if (average_) average_->update(network_);
    ++state_.step;
    state_.loss_sum += value;
    state_.seen += batch.labels.size(0);
    for (std::size_t k = 0; k < logits.size(); ++k)
      if (logits[k].defined())
        state_.correct[k] +=
            logits[k].detach().argmax(1).eq(batch.labels).sum().item<std::int64_t>();
    const double seconds = seconds_since(start);
    state_.seconds += seconds;
    state_.epoch_seconds += seconds;
    state_.epoch_wait += batches.seconds_waited() - waited;
    report_step(rate);
  }

  [[noreturn]] void throw_not_finite(const std::vector<Tensor>& logits, double loss,
                                     double rate) const {
    std::string where = "loss";
    for (std::size_t k = 0; k < logits.size(); ++k)
      if (logits[k].defined() && !logits[k].isfinite().all().item<bool>()) {
        where = fmt::format("exit {}", k + 1);
        break;
      }
    throw Error(
        "training stopped at step {} (epoch {}): {} is not finite at learning rate {:.3g}: loss "
        "{}; the last good checkpoint is kept: {}",
        state_.step + 1, state_.step / steps_per_epoch_ + 1, where, rate, loss,
        folder_.checkpoint().string());
  }

  void report_step(double rate) const {
    if (!events_.step) return;
    StepReport report;
    report.epoch = epoch();
    report.epochs = recipe_.train.epochs;
    report.step = (state_.step - 1) % steps_per_epoch_ + 1;
    report.steps_per_epoch = steps_per_epoch_;
    report.loss = state_.loss_sum / static_cast<double>(report.step);
    report.accuracy = train_accuracy();
    report.learning_rate = rate;
    report.images_per_second = static_cast<double>(state_.seen) / state_.epoch_seconds;
    const double total = static_cast<double>(recipe_.train.epochs * steps_per_epoch_);
    const auto done = static_cast<double>(state_.step);
    report.seconds_left = state_.seconds / done * (total - done);
    events_.step(report);
  }

  std::vector<double> train_accuracy() const {
    std::vector<double> result;
    for (const std::int64_t right : state_.correct)
      result.push_back(state_.seen ? static_cast<double>(right) / static_cast<double>(state_.seen)
                                   : 0);
    return result;
  }

  // Metrics on tune of the weights that would be deployed: the average where there is one.
  Metrics evaluate() {
    if (average_) average_->swap(network_);
    torch::NoGradGuard no_grad;
    TorchNetwork::Mode mode = mode_;
    mode.training = mode.last_exit_only = false;
    const auto& set = data_.dataset;
    const auto pixels =
        static_cast<std::size_t>(set.height) * static_cast<std::size_t>(set.width) * 3;
    const std::size_t classes = model_.classes.size(), n = splits_.tune.size();
    std::vector<float> logits(exits() * n * classes);
    std::vector<std::int64_t> labels;
    for (std::size_t first = 0; first < n; first += kEvaluationBatch) {
      const std::size_t count = std::min<std::size_t>(kEvaluationBatch, n - first);
      std::vector<float> images(count * pixels);
      for (std::size_t i = 0; i < count; ++i) {
        const std::int64_t index = splits_.tune[first + i];
        normalise(set.image(index), model_.preprocessing,
                  std::span(images).subspan(i * pixels, pixels));
        labels.push_back(set.labels[static_cast<std::size_t>(index)]);
      }
      const Tensor x = torch::from_blob(
          images.data(), {static_cast<std::int64_t>(count), 3, set.height, set.width});
      const auto out = network_.forward(x.to(device_), mode);
      for (std::size_t k = 0; k < exits(); ++k) {
        const Tensor rows = out[k].to(torch::kCPU).contiguous();
        std::copy_n(rows.data_ptr<float>(), count * classes,
                    logits.begin() + static_cast<std::ptrdiff_t>((k * n + first) * classes));
      }
    }
    if (average_) average_->swap(network_);
    return measure({logits, labels, static_cast<int>(exits()), static_cast<int>(classes)},
                   model_.loss_weights);
  }

  void finish_epoch() {
    check_weights_are_finite();
    EpochReport report;
    report.epoch = epoch();
    report.epochs = recipe_.train.epochs;
    report.loss = state_.loss_sum / static_cast<double>(steps_per_epoch_);
    report.train_accuracy = train_accuracy();
    report.learning_rate = learning_rate(recipe_.train, state_.step - 1, steps_per_epoch_);
    report.images_per_second = static_cast<double>(state_.seen) / state_.epoch_seconds;
    report.seconds = state_.seconds;
    report.loader_wait = state_.epoch_wait / state_.epoch_seconds;
    const Metrics metrics = evaluate();
    double score = 0;
    for (std::size_t k = 0; k < exits(); ++k) {
      report.tune_accuracy.push_back(metrics.exits[k].accuracy);
      report.tune_nll.push_back(metrics.exits[k].nll);
      score += model_.loss_weights[k] * metrics.exits[k].accuracy;
    }
    tune_accuracy_ = report.tune_accuracy;
    // While the last exit learns alone the early ones are untrained: no candidates.
    const bool candidate = !backbone_phase(recipe_.train, state_.step - 1, steps_per_epoch_);
    report.best = candidate && score > state_.best_score;
    if (report.best) {
      state_.best_score = score;
      if (average_) average_->swap(network_);
      save_model_as("best.safetensors");
      save_model_as("model.safetensors");
      if (average_) average_->swap(network_);
    }
    state_.loss_sum = state_.epoch_seconds = state_.epoch_wait = 0;
    state_.seen = 0;
    state_.correct.assign(exits(), 0);
    // The line first: resuming drops lines beyond the checkpoint, but cannot make one up.
    folder_.log(report);
    save_checkpoint();
    if (events_.epoch) events_.epoch(report);
  }

  json details() const {
    return {{"recipe", to_toml(recipe_)},
            {"seed", recipe_.train.seed},
            {"commit", kCommit},
            {"version", kVersion},
            {"step", state_.step},
            {"epoch", static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_)},
            {"precision", mode_.precision == torch::kBFloat16 ? "bf16" : "f32"},
            {"device", device_.str()},
            {"threads", torch::get_num_threads()},
            {"seconds", state_.seconds},
            {"tune_accuracy", tune_accuracy_}};
  }

  void save_model_as(const char* name, const Tensors& extra = {}) {
    model_.weights = network_.save();
    model_.provenance.details_json = details().dump();
    save_model(folder_.file(name), model_, extra);
    model_.weights.clear();
  }

  // The last update may have spoilt what a finite loss was computed from.
  void check_weights_are_finite() const {
    for (const auto& [name, tensor] : network_.tensors())
      if (!tensor.isfinite().all().item<bool>())
        throw Error(
            "training stopped at step {} (epoch {}): {} is not finite after an update at learning "
            "rate {:.3g}; the last good checkpoint is kept: {}",
            state_.step, epoch(), name, last_rate_, folder_.checkpoint().string());
  }

  void save_checkpoint() {
    check_weights_are_finite();
    Tensors extra = updater_->save();
    extra.merge(state_.save());
    if (average_) extra.merge(average_->save());
    save_model_as("checkpoint.safetensors", extra);
  }

  // The last weights and their average, for whoever wants them rather than the best on tune.
  void save_outcome() {
    save_model_as("last.safetensors");
    if (!average_) return;
    average_->swap(network_);
    save_model_as("ema.safetensors");
    average_->swap(network_);
  }

  void load_checkpoint() {
    const auto path = folder_.checkpoint();
    if (!std::filesystem::exists(path))
      throw UsageError("{}: no checkpoint to resume from", path.string());
    folder_.remove_leftovers();
    Tensors extra;
    const ModelFile saved = load_model(path, &extra);
    try {
      if (saved.graph != model_.graph) throw Error("the recipe now describes another network");
      if (saved.classes != model_.classes) throw Error("the data now have other classes");
      const DataProvenance &then = saved.provenance.data, &now = model_.provenance.data;
      // Those of a model the run began with may come on top.
      if (!std::ranges::includes(then.train, now.train) || then.tune != now.tune ||
          then.certify != now.certify)
        throw Error("the training images are not those the run began with");
      model_.provenance.data = then;
      model_.preprocessing = saved.preprocessing;
      // Whoever calibrates what a run has so far has drawn from the images of its end.
      model_.certificates = saved.certificates;
      for (const char* name :
           {"model.safetensors", "best.safetensors", "last.safetensors", "ema.safetensors"})
        model_.certificates =
            std::max(model_.certificates, certificates_drawn(folder_.file(name), saved));
      network_.load(saved.weights);
      updater_->load(extra);
      if (average_) average_->load(extra);
      state_.load(extra, exits());
    } catch (const Error& e) {
      throw_with_place(path.string(), e);
    }
    const auto steps = static_cast<std::int64_t>(splits_.train.size()) / loader_options().batch;
    folder_.forget_after(static_cast<int>(state_.step / steps));
  }

  const TrainRequest& request_;
  Recipe recipe_;
  const TrainEvents& events_;
  RunFolder folder_;
  const LoadedData& data_;
  torch::Device device_;
  Splits splits_;
  ModelFile model_;
  TorchNetwork network_;
  TorchNetwork::Mode mode_;
  std::optional<WeightUpdater> updater_;
  std::optional<WeightAverage> average_;
  RunState state_;
  std::int64_t steps_per_epoch_ = 1;
  std::vector<double> tune_accuracy_;
  double last_rate_ = 0;
};

}  // namespace

Graph graph_for(const Recipe& recipe, int height, int width, std::int64_t classes) {
  NetworkSpec spec = recipe.network;
  spec.options.input = {3, height, width};
  spec.options.classes = classes;
  return build_network(spec);
}

TrainOutcome train(const TrainRequest& request, const TrainEvents& events) {
  return translate_torch_errors([&] { return Run(request, events).go(); });
}

}  // namespace offramp::train
