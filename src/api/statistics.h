#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/opened_model.h"
#include "offramp/session.h"
#include "policy/drift.h"

namespace offramp::api {

/// Counts the answers of a session. Not thread-safe.
class [[gnu::visibility("hidden")]] Statistics {
 public:
  explicit Statistics(const engine::OpenedModel& model);

  /// Counts an answer.
  /// @param by_policy  whether the model's policy alone stopped the image: only such images count
  /// for
  ///                   drift
  void add(int exit_index, std::int64_t macs, bool by_policy);
  void reset();

  /// @param by_policy  whether the session stops by the model's policy alone: only then is the
  /// result
  ///                   tested for drift
  Stats stats(bool by_policy) const;

  /// Compares at which exits the most recent images stopped with those of calibration. nullopt if
  /// the file does not hold the latter.
  std::optional<policy::DriftVerdict> drift() const;
  /// The number of images of equal weight that the most recent images are worth in drift().
  double recent_images() const { return recent_.images(); }

 private:
  const engine::OpenedModel& model_;
  std::vector<std::int64_t> exits_;  // [K]
  std::int64_t images_ = 0, macs_ = 0;
  policy::ExitWindow recent_;
};

}  // namespace offramp::api
