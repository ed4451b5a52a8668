#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "graph/cost.h"
#include "model/model_file.h"
#include "offramp/model.h"
#include "runtime/compile.h"

namespace offramp {

/// What the handles of a model share. Immutable but for networks that are compiled when first asked
/// for.
class [[gnu::visibility("hidden")]] Model::State {
 public:
  State(const std::filesystem::path& path, const Options& options);

  const ModelFile& file() const { return mapped_.model; }
  const Cost& cost() const { return cost_; }
  const std::vector<double>& relative_costs() const { return relative_costs_; }
  Precision precision() const { return compile_options_.precision; }
  int threads() const { return compile_options_.threads; }
  int batch() const { return batch_; }
  const std::optional<Promise>& promise() const { return promise_; }
  const std::vector<std::string>& notes() const { return notes_; }

  /// For one image at a time.
  const std::shared_ptr<const CompiledNetwork>& for_one() const { return for_one_; }
  /// In batches of batch(), and of the sizes that a flush needs.
  std::shared_ptr<const CompiledNetwork> for_many() const;

 private:
  Precision choose_precision(const std::string& wanted);
  void settle_promise();
  void check_stored_logits();
  std::shared_ptr<const CompiledNetwork> compiled(CompileOptions options) const;

  MappedModel mapped_;
  Cost cost_;
  std::vector<double> relative_costs_;
  int batch_ = 1;
  CompileOptions compile_options_;
  std::optional<Promise> promise_;
  std::vector<std::string> notes_;
  std::shared_ptr<const CompiledNetwork> for_one_;

  mutable std::mutex compiling_;
  std::shared_ptr<WeightStore> store_ = make_weight_store();
  mutable std::shared_ptr<const CompiledNetwork> for_many_;
};

}  // namespace offramp
