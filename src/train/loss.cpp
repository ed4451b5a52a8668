#include "train/loss.h"

namespace offramp::train {

torch::Tensor exit_loss(const std::vector<torch::Tensor>& logits, const torch::Tensor& labels,
                        const std::vector<double>& weights, const recipe::TrainRecipe& recipe) {
  namespace F = torch::nn::functional;
  const auto cross_entropy = F::CrossEntropyFuncOptions().label_smoothing(recipe.label_smoothing);
  const double alpha = recipe.distill, temperature = recipe.distill_temperature;
  torch::Tensor teacher;
  if (alpha > 0 && logits.size() > 1)
    teacher = torch::softmax(logits.back().detach() / temperature, 1);
  torch::Tensor total;
  for (std::size_t k = 0; k < logits.size(); ++k) {
    if (!logits[k].defined() || !logits[k].requires_grad()) continue;
    torch::Tensor loss = F::cross_entropy(logits[k], labels, cross_entropy);
    if (teacher.defined() && k + 1 < logits.size()) {
      const torch::Tensor student = torch::log_softmax(logits[k] / temperature, 1);
      const torch::Tensor divergence =
          F::kl_div(student, teacher, F::KLDivFuncOptions().reduction(torch::kBatchMean));
      loss = (1 - alpha) * loss + alpha * temperature * temperature * divergence;
    }
    loss = weights[k] * loss;
    total = total.defined() ? total + loss : loss;
  }
  return total;
}

}  // namespace offramp::train
