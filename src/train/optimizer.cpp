#include "train/optimizer.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "core/error.h"

namespace offramp::train {
namespace {

using torch::Tensor;

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kAdamEps = 1e-8;
constexpr std::int64_t kGrain = 1 << 15;

core::HostTensor to_host(const Tensor& tensor) {
  const Tensor flat = tensor.detach().to(torch::kCPU).contiguous();
  return core::HostTensor::of(
      flat.sizes().vec(),
      std::span<const float>(flat.data_ptr<float>(), static_cast<std::size_t>(flat.numel())));
}

void copy_from(const core::Tensors& saved, const std::string& name, Tensor& target) {
  const auto found = saved.find(name);
  if (found == saved.end())
    throw Error(fmt::format("tensor \"{}\": missing from the checkpoint", name));
  if (target.sizes() != at::IntArrayRef(found->second.shape))
    throw Error(fmt::format("tensor \"{}\": got {}, expected {}", name,
                            core::to_string(found->second.shape),
                            core::to_string(target.sizes().vec())));
  auto values = found->second.to_f32();
  torch::NoGradGuard no_grad;
  target.copy_(torch::from_blob(values.data(), found->second.shape, torch::kFloat));
}

std::int64_t integer_from(const core::Tensors& saved, const std::string& name) {
  const auto found = saved.find(name);
  if (found == saved.end() || found->second.count() != 1)
    throw Error(fmt::format("tensor \"{}\": missing from the checkpoint", name));
  return found->second.as<std::int64_t>()[0];
}

core::HostTensor integer(std::int64_t value) {
  return core::HostTensor::of({1}, std::span<const std::int64_t>(&value, 1));
}

void sgd_cpu(Tensor& weight, const Tensor& gradient, Tensor& momentum, double lr, double mu,
             bool nesterov, double decay) {
  float* w = weight.data_ptr<float>();
  const float* g = gradient.data_ptr<float>();
  float* m = momentum.data_ptr<float>();
  const auto rate = static_cast<float>(lr), mass = static_cast<float>(mu),
             wd = static_cast<float>(decay);
  at::parallel_for(0, weight.numel(), kGrain, [=](std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from; i < to; ++i) {
      const float d = g[i] + wd * w[i];
      m[i] = mass * m[i] + d;
      w[i] -= rate * (nesterov ? d + mass * m[i] : m[i]);
    }
  });
}

void adamw_cpu(Tensor& weight, const Tensor& gradient, Tensor& first, Tensor& second, double lr,
               double decay, std::int64_t t) {
  float* w = weight.data_ptr<float>();
  const float* g = gradient.data_ptr<float>();
  float* m = first.data_ptr<float>();
  float* v = second.data_ptr<float>();
  const auto b1 = static_cast<float>(kBeta1), b2 = static_cast<float>(kBeta2);
  const auto rate = static_cast<float>(lr / (1 - std::pow(kBeta1, t)));
  const auto scale = static_cast<float>(1 / std::sqrt(1 - std::pow(kBeta2, t)));
  const auto decay_factor = static_cast<float>(1 - lr * decay), eps = static_cast<float>(kAdamEps);
  at::parallel_for(0, weight.numel(), kGrain, [=](std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from; i < to; ++i) {
      m[i] = b1 * m[i] + (1 - b1) * g[i];
      v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
      w[i] = decay_factor * w[i] - rate * m[i] / (std::sqrt(v[i]) * scale + eps);
    }
  });
}

}  // namespace

WeightUpdater::WeightUpdater(TorchNetwork& network, const recipe::TrainRecipe& recipe)
    : recipe_(recipe) {
  for (const graph::Parameter& p : network.parameters()) {
    const Tensor& weight = network.tensors().at(p.name);
    if (!p.trained() || !weight.requires_grad()) continue;
    Slot slot;
    slot.name = p.name;
    slot.weight = weight;
    slot.momentum = torch::zeros_like(weight, weight.options().requires_grad(false));
    if (recipe.optimizer == recipe::Optimizer::adamw)
      slot.second = torch::zeros_like(slot.momentum);
    slot.decays = p.role == graph::ParameterRole::conv_weight ||
                  p.role == graph::ParameterRole::linear_weight;
    slots_.push_back(std::move(slot));
  }
}

std::vector<Tensor> WeightUpdater::weights() const {
  std::vector<Tensor> result;
  for (const Slot& slot : slots_) result.push_back(slot.weight);
  return result;
}

std::vector<Tensor> WeightUpdater::gradients() const {
  std::vector<Tensor> result;
  for (const Slot& slot : slots_)
    if (const Tensor gradient = slot.weight.grad(); gradient.defined()) result.push_back(gradient);
  return result;
}

void WeightUpdater::step(double lr) {
  torch::NoGradGuard no_grad;
  for (Slot& slot : slots_) {
    Tensor gradient = slot.weight.grad();
    if (!gradient.defined()) continue;
    slot.weight.mutable_grad() = Tensor();
    ++slot.steps;
    // The loops run over memory in storage order, so all tensors of a slot need the same strides.
    if (gradient.strides() != slot.weight.strides())
      gradient = torch::empty_like(slot.weight).copy_(gradient);
    Tensor weight = slot.weight.detach();
    const double decay = slot.decays ? recipe_.weight_decay : 0;
    const bool cpu = weight.device().is_cpu();
    if (recipe_.optimizer == recipe::Optimizer::sgd) {
      if (cpu) {
        sgd_cpu(weight, gradient, slot.momentum, lr, recipe_.momentum, recipe_.nesterov, decay);
      } else {
        const Tensor d = gradient.add(weight, decay);
        slot.momentum.mul_(recipe_.momentum).add_(d);
        weight.sub_(recipe_.nesterov ? d.add(slot.momentum, recipe_.momentum) : slot.momentum, lr);
      }
    } else if (cpu) {
      adamw_cpu(weight, gradient, slot.momentum, slot.second, lr, decay, slot.steps);
    } else {
      slot.momentum.mul_(kBeta1).add_(gradient, 1 - kBeta1);
      slot.second.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
      const auto t = static_cast<double>(slot.steps);
      const Tensor scaled = (slot.second / (1 - std::pow(kBeta2, t))).sqrt_().add_(kAdamEps);
      weight.mul_(1 - lr * decay).addcdiv_(slot.momentum, scaled, -lr / (1 - std::pow(kBeta1, t)));
    }
  }
}

core::Tensors WeightUpdater::save() const {
  core::Tensors result;
  for (const Slot& slot : slots_) {
    result["optimizer.momentum." + slot.name] = to_host(slot.momentum);
    if (slot.second.defined()) result["optimizer.second." + slot.name] = to_host(slot.second);
    result["optimizer.steps." + slot.name] = integer(slot.steps);
  }
  return result;
}

void WeightUpdater::load(const core::Tensors& saved) {
  for (Slot& slot : slots_) {
    copy_from(saved, "optimizer.momentum." + slot.name, slot.momentum);
    if (slot.second.defined()) copy_from(saved, "optimizer.second." + slot.name, slot.second);
    slot.steps = integer_from(saved, "optimizer.steps." + slot.name);
  }
}

WeightAverage::WeightAverage(const TorchNetwork& network, double decay) : decay_(decay) {
  for (const auto& [name, tensor] : network.tensors()) average_[name] = tensor.detach().clone();
}

void WeightAverage::update(const TorchNetwork& network) {
  torch::NoGradGuard no_grad;
  ++updates_;
  const auto t = static_cast<double>(updates_);
  const double decay = std::min(decay_, (1 + t) / (10 + t));
  for (auto& [name, average] : average_)
    average.lerp_(network.tensors().at(name).detach(), 1 - decay);
}

void WeightAverage::swap(TorchNetwork& network) {
  torch::NoGradGuard no_grad;
  for (auto& [name, average] : average_) {
    Tensor live = network.tensors().at(name).detach();
    const Tensor copy = live.clone();
    live.copy_(average);
    average.copy_(copy);
  }
}

core::Tensors WeightAverage::save() const {
  core::Tensors result;
  for (const auto& [name, average] : average_) result["ema." + name] = to_host(average);
  result["ema_updates"] = integer(updates_);
  return result;
}

void WeightAverage::load(const core::Tensors& saved) {
  for (auto& [name, average] : average_) copy_from(saved, "ema." + name, average);
  updates_ = integer_from(saved, "ema_updates");
}

}  // namespace offramp::train
