#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/predictor.h"
#include "core/tensor.h"
#include "graph/graph.h"
#include "runtime/precision.h"
#include "runtime/ranges.h"

namespace offramp {

struct CompiledNetwork;
struct CompiledRow;

struct RuntimeOptions {
  /// The next wider one is taken where the CPU lacks the instructions; see RuntimeModel::precision.
  Precision precision = Precision::f32;
  int threads = 0;     ///< 0: all cores
  int batch = 8;       ///< images that run through a segment together, per thread
  Ranges ranges = {};  ///< of activations, for int8
};

/// A network compiled for this CPU. Immutable; any number of predictors share one.
class RuntimeModel {
 public:
  /// @param weights  one tensor for each of parameters(graph); not needed afterwards
  /// @throws Error if a parameter is missing or oneDNN fails, UsageError for a batch below 1
  RuntimeModel(const Graph& graph, const Tensors& weights, const RuntimeOptions& options);

  Precision precision() const { return precision_; }
  int threads() const { return threads_; }
  /// Each thread on images of its own.
  const std::shared_ptr<const CompiledNetwork>& for_streams() const { return for_streams_; }
  /// All threads on one image.
  const std::shared_ptr<const CompiledNetwork>& for_one_image() const { return for_one_image_; }

 private:
  Precision precision_;
  int threads_;
  std::shared_ptr<const CompiledNetwork> for_streams_, for_one_image_;
};

/// What a predictor did since construction, over all its threads.
struct RuntimeCounts {
  std::int64_t macs = 0;  ///< as graph/cost counts, of every segment and head executed
  /// [segments] share of rows that held an image, over the runs before a flush; 1 if there were
  /// none
  std::vector<double> fill;
  std::vector<std::int64_t> images;          ///< [segments] that went through
  std::vector<std::int64_t> flushed_images;  ///< [segments] of these, at the end of a call
};

/// A Predictor on oneDNN. One image runs on all threads together, several on streams of their own,
/// one a thread. After the first call of a kind nothing is allocated per image, but for the result.
/// Calls of the stop rule come from several threads, never two at a time, and each image's in
/// order.
class RuntimePredictor : public Predictor {
 public:
  explicit RuntimePredictor(std::shared_ptr<const RuntimeModel> model);
  ~RuntimePredictor() override;

  int num_exits() const override;
  int num_classes() const override;
  std::int64_t image_size() const override;
  std::vector<float> predict_all(std::span<const float> images) override;
  Stopped predict_until(std::span<const float> images, const StopRule& stop) override;

  RuntimeCounts counts() const;

 private:
  class Workers;
  std::shared_ptr<const RuntimeModel> model_;
  std::unique_ptr<Workers> workers_;
};

}  // namespace offramp
