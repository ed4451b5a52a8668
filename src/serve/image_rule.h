#pragma once

#include <optional>
#include <string_view>

#include "offramp/session.h"
#include "serve/http.h"
#include "serve/json_text.h"

namespace offramp::serve {

/// How the images of a request are treated.
struct ImageRule {
  std::optional<Stop> stop = {};           ///< without the deadline; not set: as the model has it
  std::optional<double> deadline_ms = {};  ///< from the arrival of the request
  int priority = 5;                        ///< 1 is served first, 9 last
  int top_k = 1;                           ///< classes in the answer

  /// The stop rule once `waited_ms` of the deadline are gone. An image always reaches exit 1.
  std::optional<Stop> stop_after(double waited_ms, const Stop& by_default) const;
};

/// Reads one parameter of a request: stop ("policy" or "last"), step, threshold, deadline_ms,
/// priority, top_k; KServe's timeout (microseconds) is a deadline too.
/// @return false if there is no parameter of that name
/// @throws HttpError 400 if the value makes no sense
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
