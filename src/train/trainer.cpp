#include "train/trainer.h"

#include <chrono>
#include <cmath>

#include "train/loss.h"
#include "train/schedule.h"
#include "train/torch_setup.h"

namespace offramp::train {
namespace {

using torch::Tensor;
using Clock = std::chrono::steady_clock;

ImageSize input_size(const graph::Graph& graph) {
  return {static_cast<int>(graph.input[1]), static_cast<int>(graph.input[2])};
}

// The share of the images of a step that this process has. The loss of a step is the mean over the
// images of all processes, so that of each is weighted with its share.
double share_of(const TensorBatch& batch) {
  const auto images = static_cast<double>(batch.labels.size(0));
  return batch.total > 0 ? images / static_cast<double>(batch.total) : 1;
}

}  // namespace

Trainer::Trainer(TorchNetwork network, std::vector<double> loss_weights,
                 const recipe::TrainRecipe& recipe, std::int64_t steps_per_epoch,
                 GradientExchange* exchange, MomentsExchange* moments)
    : network_(std::move(network)),
      loss_weights_(std::move(loss_weights)),
      recipe_(recipe),
      steps_per_epoch_(steps_per_epoch),
      exchange_(exchange) {
  mode_.training = true;
  mode_.precision = resolve_precision(recipe_.precision, network_.device());
  mode_.frozen_backbone = recipe_.mode == recipe::Mode::frozen;
  mode_.gradient_equilibrium = recipe_.gradient_equilibrium;
  check_sizes();
  if (mode_.frozen_backbone) freeze_backbone();
  updater_.emplace(network_, recipe_);
  if (recipe_.ema > 0) average_.emplace(network_, recipe_.ema);
  state_.correct.assign(static_cast<std::size_t>(num_exits()), 0);
  mode_.moments = moments;
  if (exchange_ != nullptr) exchange_->prepare(updater_->weights(), changing_statistics());
}

int Trainer::epoch() const {
  return static_cast<int>((state_.step + steps_per_epoch_ - 1) / steps_per_epoch_);
}

std::vector<double> Trainer::train_accuracy() const {
  std::vector<double> result;
  for (const std::int64_t right : state_.correct)
    result.push_back(state_.seen ? static_cast<double>(right) / static_cast<double>(state_.seen)
                                 : 0);
  return result;
}

// Checks that the network can run at every image size of the recipe: a network may need a minimum
// size, or have parameters whose shape depends on it.
void Trainer::check_sizes() const {
  const ImageSize full = input_size(network_.graph());
  for (std::int64_t epoch = 0; epoch < recipe_.epochs; ++epoch) {
    const ImageSize size = training_image_size(recipe_, full, epoch);
    graph::Graph graph = network_.graph();
    graph.input = {graph.input[0], size.height, size.width};
    try {
      const auto needed = parameters(graph), ours = network_.parameters();
      for (std::size_t i = 0; i < ours.size(); ++i)
        if (needed[i].shape != ours[i].shape)
          throw Error(fmt::format("{} depends on the size of the images", ours[i].name));
    } catch (const Error& e) {
      throw UsageError(
          fmt::format("train.first_scale: the network cannot run on {} x {} pixels: {}", size.width,
                      size.height, e.what()));
    }
  }
}

void Trainer::freeze_backbone() {
  const auto segments = graph::exit_segments(network_.graph());
  for (const graph::Parameter& p : network_.parameters())
    if (!p.in_head || p.segment == segments.back()) {
      Tensor tensor = network_.tensors().at(p.name);
      tensor.set_requires_grad(false);
    }
}

// Returns the running statistics that differ among the processes after a step: all that change, if
// each process computes them over its own images.
std::vector<Tensor> Trainer::changing_statistics() const {
  std::vector<Tensor> result;
  if (mode_.moments != nullptr) return result;
  const int last = graph::exit_segments(network_.graph()).back();
  for (const graph::Parameter& p : network_.parameters())
    if (!p.trained() && (!mode_.frozen_backbone || (p.in_head && p.segment != last)))
      result.push_back(network_.tensors().at(p.name));
  return result;
}

// Scales a batch to the image size of the current epoch, with a filter against aliasing.
Tensor Trainer::resized(const Tensor& images) const {
  const ImageSize size =
      training_image_size(recipe_, input_size(network_.graph()), state_.step / steps_per_epoch_);
  if (images.size(2) == size.height && images.size(3) == size.width) return images;
  return at::_upsample_bilinear2d_aa(images, {size.height, size.width}, false)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

// Computes the loss and its gradients. @return the loss; `logits` receives those of all exits
double Trainer::joint_backward(const TensorBatch& batch, double rate, std::vector<Tensor>& logits) {
  logits = network_.forward(resized(batch.images), mode_);
  // If only the last exit is trained, its loss has weight 1, as in a network without early exits.
  std::vector<double> weights = loss_weights_;
  if (mode_.last_exit_only) weights.back() = 1;
  const Tensor loss = share_of(batch) * exit_loss(logits, batch.labels, weights, recipe_);
  const double value = loss.item<double>();
  if (exchange_ == nullptr && !std::isfinite(value)) throw_not_finite(logits, value, rate);
  loss.backward();
  return value;
}

// The same for a frozen backbone. Its heads share no parameter, so each is run and differentiated
// alone: memory holds the activations of one head at a time, however many heads there are.
double Trainer::frozen_backward(const TensorBatch& batch, double rate,
                                std::vector<Tensor>& logits) {
  const std::vector<int> segments = graph::exit_segments(network_.graph());
  std::vector<TorchNetwork::State> features = network_.features(resized(batch.images), mode_);
  logits.resize(segments.size());
  {
    torch::NoGradGuard no_grad;
    logits.back() = network_.run_head(segments.back(), features.back(), mode_);
  }
  double sum = 0;
  for (std::size_t k = 0; k + 1 < segments.size(); ++k) {
    std::vector<Tensor> of_head(segments.size());
    of_head[k] = network_.run_head(segments[k], features[k], mode_);
    of_head.back() = logits.back();  // the teacher of a distillation is the last exit
    features[k].clear();
    const Tensor loss = share_of(batch) * exit_loss(of_head, batch.labels, loss_weights_, recipe_);
    logits[k] = of_head[k].detach();
    const double value = loss.item<double>();
    if (exchange_ == nullptr && !std::isfinite(value)) throw_not_finite(logits, value, rate);
    loss.backward();
    sum += value;
  }
  return sum;
}

void Trainer::step(Batches& batches) {
  const auto start = Clock::now();
  const double waited = batches.seconds_waited();
  const TensorBatch batch = batches.next();
  mode_.last_exit_only = is_backbone_phase(recipe_, state_.step, steps_per_epoch_);
  const double rate = learning_rate(recipe_, state_.step, steps_per_epoch_);
  // Totals over all processes: the loss, the images, whether to stop, and the images that each exit
  // classifies correctly.
  std::vector<double> totals(3 + static_cast<std::size_t>(num_exits()));
  if (exchange_ != nullptr) exchange_->begin_step(totals);
  std::vector<Tensor> logits;
  totals[0] = mode_.frozen_backbone ? frozen_backward(batch, rate, logits)
                                    : joint_backward(batch, rate, logits);
  totals[1] = static_cast<double>(batch.labels.size(0));
  totals[2] = stop_ != nullptr && stop_->load() ? 1 : 0;
  for (std::size_t k = 0; k < logits.size(); ++k)
    if (logits[k].defined())
      totals[3 + k] = logits[k].detach().argmax(1).eq(batch.labels).sum().item<double>();
  if (exchange_ != nullptr) exchange_->exchange(updater_->gradients());
  if (!std::isfinite(totals[0])) throw_not_finite(logits, totals[0], rate);
  updater_->step(rate);
  last_rate_ = rate;
  if (average_) average_->update(network_);
  ++state_.step;
  state_.loss_sum += totals[0];
  state_.seen += static_cast<std::int64_t>(totals[1]);
  stop_agreed_ = totals[2] > 0;
  for (std::size_t k = 0; k < logits.size(); ++k)
    state_.correct[k] += static_cast<std::int64_t>(totals[3 + k]);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  state_.seconds += seconds;
  state_.epoch_seconds += seconds;
  state_.epoch_wait += batches.seconds_waited() - waited;
}

bool Trainer::run_epoch(Batches& batches, const std::function<bool()>& after_step) {
  do {
    step(batches);
    if (!after_step()) break;
  } while (!is_at_end_of_epoch());
  return is_at_end_of_epoch();
}

void Trainer::begin_epoch(double best_score) {
  state_.best_score = best_score;
  state_.begin_epoch();
}

void Trainer::throw_not_finite(const std::vector<Tensor>& logits, double loss, double rate) const {
  std::string where = "loss";
  for (std::size_t k = 0; k < logits.size(); ++k)
    if (logits[k].defined() && !logits[k].isfinite().all().item<bool>()) {
      where = fmt::format("exit {}", k + 1);
      break;
    }
  throw NotFinite(fmt::format(
      "training stopped at step {} (epoch {}): {} is not finite at learning rate {:.3g}: loss {}",
      state_.step + 1, state_.step / steps_per_epoch_ + 1, where, rate, loss));
}

void Trainer::check_weights() const {
  for (const auto& [name, tensor] : network_.tensors())
    if (!tensor.isfinite().all().item<bool>())
      throw NotFinite(fmt::format(
          "training stopped at step {} (epoch {}): {} is not finite after an update at learning "
          "rate {:.3g}",
          state_.step, epoch(), name, last_rate_));
}

core::Tensors Trainer::save() const {
  core::Tensors extra = updater_->save();
  extra.merge(state_.save());
  if (average_) extra.merge(average_->save());
  return extra;
}

void Trainer::load(const core::Tensors& weights, const core::Tensors& saved) {
  network_.load(weights);
  updater_->load(saved);
  if (average_) average_->load(saved);
  state_.load(saved, static_cast<std::size_t>(num_exits()));
}

}  // namespace offramp::train
