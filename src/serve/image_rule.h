#pragma once

#include <optional>
#include <string_view>

#include "offramp/session.h"
#include "serve/http.h"
#include "serve/json_text.h"

namespace offramp::serve {

/// The options of a request that apply to each of its images.
struct ImageRule {
  std::optional<Stop> stop = {};  ///< the stop rule without the deadline; not set: the model's own
  std::optional<double> deadline_ms = {};  ///< time from the arrival of the request
  int priority = 5;                        ///< 1 is served first, 9 last
  int top_k = 1;                           ///< number of classes in the answer

  /// Returns the stop rule for an image that has waited `waited_ms`, which are subtracted from its
  /// deadline. An image always reaches exit 1.
  std::optional<Stop> stop_after(double waited_ms, const Stop& by_default) const;
};

/// Reads one parameter of a request: stop ("policy" or "last"), step, threshold, deadline_ms,
/// priority, top_k; KServe's timeout (microseconds) is a deadline too.
/// @return false if there is no parameter of that name
/// @throws HttpError 400 if the value is invalid
class ImageRuleReader {
 public:
  bool read(std::string_view name, std::string_view text);
  bool read(std::string_view name, const RequestJson& value);
  /// @throws HttpError 400 if two parameters contradict each other
  ImageRule rule() const;

 private:
  bool set(std::string_view name, double value);

  ImageRule rule_;
  std::optional<float> threshold_;
  std::optional<int> step_;
  std::optional<bool> to_last_;
};

}  // namespace offramp::serve
