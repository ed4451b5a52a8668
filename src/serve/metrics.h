#pragma once

#include <memory>
#include <string>

#include "serve/http_server.h"
#include "serve/served_models.h"

namespace offramp::serve {

/// Counters and times of a server, as Prometheus reads them. Thread-safe.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  /// @param route  the route without names: "infer"  @param seconds  time until the response
  void count_request(const std::string& route, int status, double seconds);
  /// Returns the text of GET /metrics. @param counts  current counts of the HTTP server
  std::string text(const ServedModels& models, const HttpCounts& counts);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp::serve
