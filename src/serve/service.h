#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "serve/http.h"
#include "serve/metrics.h"
#include "serve/served_models.h"

namespace offramp::serve {

/// Told about a request that was answered, for logs.
struct RequestRecord {
  std::string id, method, route;
  int status = 0;
  double milliseconds = 0;
};

struct ServiceOptions {
  std::string token;  ///< that requests must carry, except for the page and health; empty: none
  std::function<void(const RequestRecord&)> on_request = {};  ///< from any thread
};

/// The routes of the server: finds who answers a request. Knows no sockets. Thread-safe.
class Service {
 public:
  Service(ServedModels& models, const ServiceOptions& options);

  /// Answers a request, perhaps later and from another thread.
  void handle(std::shared_ptr<Request> request, Reply reply);

  /// Whether load balancers may send requests: from the start until the server drains.
  void set_ready(bool ready) { ready_ = ready; }
  /// Where counts for /metrics come from.
  void set_http_counts(std::function<HttpCounts()> counts) { http_counts_ = std::move(counts); }

 private:
  void dispatch(const std::shared_ptr<Request>& request, const Target& target, std::string& route,
                const Reply& reply);
  void models_v2(const std::shared_ptr<Request>& request, const Target& target, std::string& route,
                 const Reply& reply);
  void check_token(const Request& request) const;

  ServedModels& models_;
  const ServiceOptions options_;
  Metrics metrics_;
  std::function<HttpCounts()> http_counts_;
  std::atomic<bool> ready_ = false;
  std::atomic<std::uint64_t> next_id_ = 0;
};

}  // namespace offramp::serve
