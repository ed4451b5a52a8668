#include "train/predictor.h"

#include <numeric>

#include "core/error.h"
#include "train/torch_setup.h"

namespace offramp::train {
namespace {

using torch::Tensor;

class TorchPredictor : public core::Predictor {
 public:
  TorchPredictor(TorchNetwork& network, const TorchNetwork::Mode& mode)
      : network_(network), mode_(mode) {}

  TorchPredictor(const model::ModelFile& model, const TorchPredictorOptions& options)
      : owned_network_(
            std::make_unique<TorchNetwork>(model.graph, device_from_name(options.device), 0)),
        network_(*owned_network_) {
    set_threads(options.threads);
    keep_freed_memory();
    mode_.precision = resolve_precision(options.precision, network_.device());
    network_.load(model.weights);
  }

  int num_exits() const override { return network_.num_exits(); }
  int num_classes() const override { return static_cast<int>(network_.graph().classes); }
  std::int64_t image_size() const override { return core::element_count(network_.graph().input); }

  void run(std::span<const float> images, const core::ExitVisitor& visit) override {
    with_translated_errors([&] {
      const Tensor x = to_tensor(images);
      const auto classes = static_cast<std::size_t>(num_classes());
      // Indices in the batch of the images that have not stopped yet.
      std::vector<std::int64_t> active(static_cast<std::size_t>(x.size(0)));
      std::iota(active.begin(), active.end(), 0);

      auto state = network_.start(x, mode_);
      const auto& segments = network_.graph().segments;
      int exit_index = 0;
      for (int index = 0; index < static_cast<int>(segments.size()) && !active.empty(); ++index) {
        network_.run_body(index, state, mode_);
        if (segments[static_cast<std::size_t>(index)].head.empty()) continue;
        std::vector<float> logits;
        append(network_.run_head(index, state, mode_), logits);
        std::vector<std::int64_t> still_active, rows;
        for (std::size_t row = 0; row < active.size(); ++row) {
          const std::span<const float> own(logits.data() + row * classes, classes);
          if (visit(active[row], {exit_index, own})) continue;
          still_active.push_back(active[row]);
          rows.push_back(static_cast<std::int64_t>(row));
        }
        if (still_active.size() < active.size() && !still_active.empty()) {
          const Tensor active_rows = torch::tensor(rows, torch::kLong).to(network_.device());
          for (auto& [name, tensor] : state) tensor = tensor.index_select(0, active_rows);
        }
        active = std::move(still_active);
        ++exit_index;
      }
    });
  }

 private:
  Tensor to_tensor(std::span<const float> images) const {
    const graph::Shape& s = network_.graph().input;
    const auto n = static_cast<std::int64_t>(images.size()) / image_size();
    if (images.empty() || n * image_size() != static_cast<std::int64_t>(images.size()))
      throw Error(fmt::format("images: {} values are not a whole number of images of {}",
                              images.size(), image_size()));
    return torch::from_blob(const_cast<float*>(images.data()), {n, s[0], s[1], s[2]}, torch::kFloat)
        .to(network_.device());
  }

  static void append(const Tensor& logits, std::vector<float>& out) {
    const Tensor flat = logits.to(torch::kCPU, torch::kFloat).contiguous();
    out.insert(out.end(), flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel());
  }

  template <typename F>
  auto with_translated_errors(const F& work) -> decltype(work()) {
    torch::InferenceMode inference;
    return translate_torch_errors(work);
  }

  std::unique_ptr<TorchNetwork> owned_network_;  // null if the caller owns the network
  TorchNetwork& network_;
  TorchNetwork::Mode mode_;
};

}  // namespace

std::unique_ptr<core::Predictor> make_torch_predictor(TorchNetwork& network,
                                                      const TorchNetwork::Mode& mode) {
  return std::make_unique<TorchPredictor>(network, mode);
}

std::unique_ptr<core::Predictor> make_torch_predictor(const model::ModelFile& model,
                                                      const TorchPredictorOptions& options) {
  return translate_torch_errors([&] { return std::make_unique<TorchPredictor>(model, options); });
}

}  // namespace offramp::train
