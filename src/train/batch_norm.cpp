#include "train/batch_norm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "train/batch_norm_kernels.h"
#include "train/compat.h"

namespace offramp::train {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

kernels::Storage storage_of(const Tensor& x) {
  return x.scalar_type() == torch::kFloat ? kernels::Storage::f32 : kernels::Storage::bf16;
}

bool has_own_kernels(const Tensor& x) {
  return x.device().is_cpu() && x.dim() == 4 && x.numel() > 0 &&
         (x.scalar_type() == torch::kFloat || x.scalar_type() == torch::kBFloat16);
}

// Divides the rows of a tensor into chunks. The division depends on the shape only, so that partial
// sums are added in the same order on any number of threads.
struct RowChunks {
  explicit RowChunks(const Tensor& x)
      : rows{x.numel() / x.size(1), x.size(1)}, bytes_per_row(x.size(1) * x.element_size()) {
    constexpr std::int64_t kMaxChunks = 64, kMinRows = 64;
    count = std::clamp<std::int64_t>(rows.count / kMinRows, 1, kMaxChunks);
  }
  std::int64_t begin(std::int64_t chunk) const { return rows.count * chunk / count; }
  kernels::Rows rows_of(std::int64_t chunk) const {
    return {begin(chunk + 1) - begin(chunk), rows.channels};
  }
  const void* at(const Tensor& x, std::int64_t chunk) const {
    if (!x.defined()) return nullptr;
    return static_cast<const char*>(x.data_ptr()) + begin(chunk) * bytes_per_row;
  }
  void* at_mutable(const Tensor& x, std::int64_t chunk) const {
    if (!x.defined()) return nullptr;
    return static_cast<char*>(x.data_ptr()) + begin(chunk) * bytes_per_row;
  }
  template <typename F>
  void parallel(const F& work) const {
    at::parallel_for(0, count, 1, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t chunk = from; chunk < to; ++chunk) work(chunk);
    });
  }

  kernels::Rows rows;
  std::int64_t bytes_per_row;
  std::int64_t count = 1;
};

// Partial sums of two quantities for each chunk and channel; total() adds them in f64.
struct PartialSums {
  PartialSums(const RowChunks& chunks)
      : channels(chunks.rows.channels),
        count(chunks.count),
        first(static_cast<std::size_t>(count * channels)),
        second(first.size()) {}
  float* first_of(std::int64_t chunk) { return first.data() + chunk * channels; }
  float* second_of(std::int64_t chunk) { return second.data() + chunk * channels; }
  double total(const std::vector<float>& values, std::int64_t channel) const {
    double sum = 0;
    for (std::int64_t chunk = 0; chunk < count; ++chunk)
      sum += static_cast<double>(values[static_cast<std::size_t>(chunk * channels + channel)]);
    return sum;
  }
  std::int64_t channels, count;
  std::vector<float> first, second;
};

Tensor channel_vector(std::int64_t channels) { return torch::empty({channels}, torch::kFloat); }

struct Statistics {
  Tensor mean, inverse_std;
  double count = 0;  // values of each channel, over all processes
};

/// The number of values of each channel, and for each channel two sums over them. [2 C + 1] f64.
struct Moments {
  explicit Moments(std::int64_t num_channels, double values)
      : channels(num_channels), all(torch::zeros({2 * channels + 1}, torch::kDouble)) {
    all.data_ptr<double>()[2 * channels] = values;
  }
  double& first(std::int64_t c) { return all.data_ptr<double>()[c]; }
  double& second(std::int64_t c) { return all.data_ptr<double>()[channels + c]; }
  double count() const { return all.data_ptr<double>()[2 * channels]; }

  std::int64_t channels;
  Tensor all;
};

Statistics batch_statistics(const Tensor& x, const BatchNormTensors& tensors, double momentum,
                            double eps, MomentsExchange* exchange) {
  const RowChunks chunks(x);
  PartialSums sums(chunks);
  // The first row serves as origin: a value of the channel is near enough to its mean to avoid
  // cancellation in the variance.
  const Tensor origin = x.select(0, 0).select(1, 0).select(1, 0).to(torch::kFloat).contiguous();
  const float* o = origin.data_ptr<float>();
  chunks.parallel([&](std::int64_t chunk) {
    kernels::moments(storage_of(x), chunks.at(x, chunk), chunks.rows_of(chunk), o,
                     sums.first_of(chunk), sums.second_of(chunk));
  });
  const std::int64_t channels = chunks.rows.channels;
  auto n = static_cast<double>(chunks.rows.count);
  Moments moments(channels, n);
  if (exchange != nullptr) {
    // Every process has its own origin, so the sums are those of the values themselves.
    for (std::int64_t c = 0; c < channels; ++c) {
      const double origin_value = o[c], sum = sums.total(sums.first, c);
      moments.first(c) = sum + n * origin_value;
      moments.second(c) =
          sums.total(sums.second, c) + 2 * origin_value * sum + n * origin_value * origin_value;
    }
    exchange->sum(moments.all);
    n = moments.count();
  }
  Statistics result{channel_vector(channels), channel_vector(channels), n};
  float* mean = result.mean.data_ptr<float>();
  float* inverse_std = result.inverse_std.data_ptr<float>();
  float* running_mean = tensors.running_mean.data_ptr<float>();
  float* running_var = tensors.running_var.data_ptr<float>();
  for (std::int64_t c = 0; c < channels; ++c) {
    const double origin_value = exchange == nullptr ? static_cast<double>(o[c]) : 0;
    const double first = exchange == nullptr ? sums.total(sums.first, c) : moments.first(c);
    const double second = exchange == nullptr ? sums.total(sums.second, c) : moments.second(c);
    const double offset = first / n;
    const double variance = std::max(0.0, second / n - offset * offset);
    const double m = origin_value + offset;
    mean[c] = static_cast<float>(m);
    inverse_std[c] = static_cast<float>(1 / std::sqrt(variance + eps));
    const double unbiased = n > 1 ? variance * n / (n - 1) : variance;
    running_mean[c] = static_cast<float>((1 - momentum) * running_mean[c] + momentum * m);
    running_var[c] = static_cast<float>((1 - momentum) * running_var[c] + momentum * unbiased);
  }
  return result;
}

// Returns scale = weight / std and shift = bias - mean * scale, both [C].
std::pair<Tensor, Tensor> scale_and_shift(const Tensor& weight, const Tensor& bias,
                                          const Tensor& mean, const Tensor& inverse_std) {
  const std::int64_t channels = weight.numel();
  std::pair<Tensor, Tensor> result{channel_vector(channels), channel_vector(channels)};
  for (std::int64_t c = 0; c < channels; ++c) {
    const float scale = weight.data_ptr<float>()[c] * inverse_std.data_ptr<float>()[c];
    result.first.data_ptr<float>()[c] = scale;
    result.second.data_ptr<float>()[c] =
        bias.data_ptr<float>()[c] - mean.data_ptr<float>()[c] * scale;
  }
  return result;
}

Tensor transform(const Tensor& x, const Tensor& residual, const Tensor& scale, const Tensor& shift,
                 bool relu) {
  const RowChunks chunks(x);
  Tensor y = torch::empty_like(x, x.options(), kChannelsLast);
  chunks.parallel([&](std::int64_t chunk) {
    kernels::scale_shift(storage_of(x), chunks.at(x, chunk), chunks.at(residual, chunk),
                         chunks.rows_of(chunk), scale.data_ptr<float>(), shift.data_ptr<float>(),
                         relu, chunks.at_mutable(y, chunk));
  });
  return y;
}

// Autograd keeps integers for the backward pass, but no pointers.
std::int64_t to_integer(MomentsExchange* exchange) {
  return static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(exchange));
}
MomentsExchange* from_integer(std::int64_t integer) {
  return reinterpret_cast<MomentsExchange*>(static_cast<std::intptr_t>(integer));
}

struct BatchNormAct : torch::autograd::Function<BatchNormAct> {
  static Tensor forward(AutogradContext* context, const Tensor& x_any, const Tensor& weight,
                        const Tensor& bias, const compat::optional<Tensor>& residual_any,
                        const BatchNormTensors& tensors, bool relu, double momentum, double eps,
                        MomentsExchange* exchange) {
    const Tensor x = x_any.contiguous(kChannelsLast);
    const Tensor residual = residual_any ? residual_any->contiguous(kChannelsLast) : Tensor();
    const auto [mean, inverse_std, count] = batch_statistics(x, tensors, momentum, eps, exchange);
    const auto [scale, shift] = scale_and_shift(weight, bias, mean, inverse_std);
    const Tensor y = transform(x, residual, scale, shift, relu);
    context->saved_data["exchange"] = to_integer(exchange);
    context->saved_data["count"] = count;
    context->saved_data["relu"] = relu;
    context->saved_data["residual"] = residual.defined();
    const bool keep_y = relu && residual.defined();
    context->save_for_backward({x, keep_y ? y : Tensor(), mean, inverse_std, scale, shift});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &y = saved[1], &mean = saved[2], &inverse_std = saved[3];
    const Tensor &scale = saved[4], &shift = saved[5];
    const bool relu = context->saved_data["relu"].toBool();
    const bool has_residual = context->saved_data["residual"].toBool();
    const Tensor dy = gradients[0].contiguous(kChannelsLast);
    const RowChunks chunks(x);
    const auto storage = storage_of(x);
    const bool masked = y.defined();
    const Tensor dz = masked ? torch::empty_like(x, x.options(), kChannelsLast) : Tensor();
    PartialSums sums(chunks);
    chunks.parallel([&](std::int64_t chunk) {
      kernels::gradient_sums(storage, chunks.at(dy, chunk), chunks.at(x, chunk),
                             chunks.at(y, chunk), chunks.rows_of(chunk), scale.data_ptr<float>(),
                             shift.data_ptr<float>(), mean.data_ptr<float>(), relu,
                             chunks.at_mutable(dz, chunk), sums.first_of(chunk),
                             sums.second_of(chunk));
    });
    // The gradient is dx = scale (dz - mean(dz) - (x - mean) mean(dz (x - mean)) / variance)
    // (Ioffe and Szegedy, 2015).
    const std::int64_t channels = chunks.rows.channels;
    Moments moments(channels, 0);
    for (std::int64_t c = 0; c < channels; ++c) {
      moments.first(c) = sums.total(sums.first, c);
      moments.second(c) = sums.total(sums.second, c);
    }
    // The gradients of weight and bias are of this process's images, as those of all parameters.
    Moments over_all = moments;
    if (MomentsExchange* exchange = from_integer(context->saved_data["exchange"].toInt())) {
      over_all.all = moments.all.clone();
      exchange->sum(over_all.all);
    }
    const double n = context->saved_data["count"].toDouble();
    Tensor dweight = channel_vector(channels), dbias = channel_vector(channels);
    Tensor b = channel_vector(channels), c0 = channel_vector(channels);
    for (std::int64_t c = 0; c < channels; ++c) {
      const double sum = over_all.first(c), product = over_all.second(c);
      const double inverse = inverse_std.data_ptr<float>()[c], a = scale.data_ptr<float>()[c];
      const double slope = a * inverse * inverse * product / n;
      dweight.data_ptr<float>()[c] = static_cast<float>(moments.second(c) * inverse);
      dbias.data_ptr<float>()[c] = static_cast<float>(moments.first(c));
      b.data_ptr<float>()[c] = static_cast<float>(-slope);
      c0.data_ptr<float>()[c] = static_cast<float>(slope * mean.data_ptr<float>()[c] - a * sum / n);
    }
    const Tensor source = masked ? dz : dy;
    Tensor dx = torch::empty_like(x, x.options(), kChannelsLast);
    chunks.parallel([&](std::int64_t chunk) {
      kernels::gradient_apply(
          storage, chunks.at(source, chunk), masked, chunks.at(x, chunk), chunks.rows_of(chunk),
          scale.data_ptr<float>(), shift.data_ptr<float>(), relu, scale.data_ptr<float>(),
          b.data_ptr<float>(), c0.data_ptr<float>(), chunks.at_mutable(dx, chunk));
    });
    return {dx,       dweight,  dbias,   has_residual ? source : Tensor(), Tensor(), Tensor(),
            Tensor(), Tensor(), Tensor()};
  }
};

// Batch norm over the images of all processes, of x [N, C, H, W] in any type, with LibTorch's
// operations. Moments are summed in f64.
struct ExchangedBatchNorm : torch::autograd::Function<ExchangedBatchNorm> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const Tensor& bias, const BatchNormTensors& tensors, double momentum,
                        double eps, MomentsExchange* exchange) {
    const std::int64_t channels = x.size(1);
    const Tensor wide = x.to(torch::kDouble);
    Moments moments(channels, static_cast<double>(x.numel()) / static_cast<double>(channels));
    moments.all.slice(0, 0, channels).copy_(wide.sum({0, 2, 3}));
    moments.all.slice(0, channels, 2 * channels).copy_(wide.square().sum({0, 2, 3}));
    exchange->sum(moments.all);
    const double n = moments.count();
    const Tensor mean = moments.all.slice(0, 0, channels) / n;
    const Tensor variance =
        (moments.all.slice(0, channels, 2 * channels) / n - mean.square()).clamp_min(0);
    const Tensor inverse_std = (variance + eps).rsqrt();
    for (const auto& [running, now] :
         {std::pair(tensors.running_mean, mean),
          std::pair(tensors.running_var, n > 1 ? variance * (n / (n - 1)) : variance)})
      running.copy_(running.to(torch::kDouble) * (1 - momentum) + momentum * now);
    const Tensor normalised = (wide - columns(mean)) * columns(inverse_std);
    context->saved_data["exchange"] = to_integer(exchange);
    context->saved_data["count"] = n;
    context->save_for_backward({normalised, inverse_std, weight});
    return (normalised * columns(weight.to(torch::kDouble)) + columns(bias.to(torch::kDouble)))
        .to(x.scalar_type());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &normalised = saved[0], &inverse_std = saved[1], &weight = saved[2];
    const std::int64_t channels = normalised.size(1);
    const Tensor dy = gradients[0].to(torch::kDouble);
    const Tensor dbias = dy.sum({0, 2, 3}), dweight = (dy * normalised).sum({0, 2, 3});
    const Tensor over_all = torch::cat({dbias, dweight});
    from_integer(context->saved_data["exchange"].toInt())->sum(over_all);
    const double n = context->saved_data["count"].toDouble();
    const Tensor scale = columns(weight.to(torch::kDouble) * inverse_std);
    const Tensor dx = scale * (dy - columns(over_all.slice(0, 0, channels) / n) -
                               normalised * columns(over_all.slice(0, channels) / n));
    return {dx.to(gradients[0].scalar_type()),
            dweight.to(weight.scalar_type()),
            dbias.to(weight.scalar_type()),
            Tensor(),
            Tensor(),
            Tensor(),
            Tensor()};
  }

 private:
  static Tensor columns(const Tensor& channels) { return channels.view({1, -1, 1, 1}); }
};

Tensor exchanged_batch_norm(const Tensor& x, const BatchNormTensors& t, const Tensor& residual,
                            bool relu, double momentum, double eps, MomentsExchange* exchange) {
  Tensor y = ExchangedBatchNorm::apply(x, t.weight, t.bias, t, momentum, eps, exchange);
  if (residual.defined()) y = y + residual;
  return relu ? torch::relu(y) : y;
}

Tensor batch_norm_with_libtorch(const Tensor& x, const BatchNormTensors& t, const Tensor& residual,
                                bool relu, bool training, double momentum, double eps) {
  Tensor y = torch::batch_norm(x, t.weight, t.bias, t.running_mean, t.running_var, training,
                               momentum, eps, at::globalContext().userEnabledCuDNN());
  if (residual.defined()) y = y + residual;
  return relu ? torch::relu(y) : y;
}

}  // namespace

Tensor batch_norm_act(const Tensor& x, const BatchNormTensors& t, const Tensor& residual, bool relu,
                      bool training, double momentum, double eps, MomentsExchange* exchange) {
  if (training && exchange != nullptr && !has_own_kernels(x))
    return exchanged_batch_norm(x, t, residual, relu, momentum, eps, exchange);
  if (!has_own_kernels(x))
    return batch_norm_with_libtorch(x, t, residual, relu, training, momentum, eps);
  if (training) {
    compat::optional<Tensor> added;
    if (residual.defined()) added = residual;
    return BatchNormAct::apply(x, t.weight, t.bias, added, t, relu, momentum, eps, exchange);
  }
  const bool differentiated =
      at::GradMode::is_enabled() && (x.requires_grad() || t.weight.requires_grad() ||
                                     (residual.defined() && residual.requires_grad()));
  if (differentiated) return batch_norm_with_libtorch(x, t, residual, relu, false, momentum, eps);
  const Tensor inverse_std = torch::rsqrt(t.running_var + eps);
  const auto [scale, shift] = scale_and_shift(t.weight, t.bias, t.running_mean, inverse_std);
  return transform(x.contiguous(kChannelsLast),
                   residual.defined() ? residual.contiguous(kChannelsLast) : Tensor(), scale, shift,
                   relu);
}

}  // namespace offramp::train
