#pragma once

#include <cstdint>
#include <vector>

#include "engine/opened_model.h"
#include "offramp/session.h"
#include "policy/drift.h"

namespace offramp {

/// Counts what a session has answered. Not thread-safe.
class [[gnu::visibility("hidden")]] Statistics {
 public:
  explicit Statistics(const engine::OpenedModel& model);

  /// @param by_policy  whether nothing but the model's policy decided: drift looks at those alone
  void add(int exit_index, std::int64_t macs, bool by_policy);
  void reset();

  /// @param by_policy  whether only the policy decided: then drift is looked for
  Stats stats(bool by_policy) const;

 private:
  const engine::OpenedModel& model_;
  std::vector<std::int64_t> exits_;  // [K]
  std::int64_t images_ = 0, macs_ = 0;
  ExitWindow recent_;
};

}  // namespace offramp
