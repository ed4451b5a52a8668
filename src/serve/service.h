#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "serve/http.h"
#include "serve/metrics.h"
#include "serve/served_models.h"
#include "serve/worker.h"

namespace offramp::serve {

/// Told about a request that was answered, for logs.
struct RequestRecord {
  std::string id, method, route;
  int status = 0;
  double milliseconds = 0;
};

struct ServiceOptions {
  std::string token =
      {};  ///< that requests must carry, except for the page and health; empty: none
  /// Whether only this machine can reach the server. Without a token, requests are then accepted
  /// only under a name of this machine: a page of another site whose name was bound to 127.0.0.1
  /// sends its own name.
  bool on_loopback = false;
  std::function<void(const RequestRecord&)> on_request = {};  ///< from any thread
};

/// The routes of the server: finds who answers a request. Knows no sockets. Thread-safe.
class Service {
 public:
  Service(ServedModels& models, const ServiceOptions& options);

  /// Refuses what can be refused without the body: a wrong address, method or host, no token.
  /// @return the response; nullopt if the body is to be read and handle() to be called
  std::optional<Response> admit(Request& request);
  /// Answers a request, perhaps later and from another thread. Checks all that admit() checks.
  void handle(std::shared_ptr<Request> request, Reply reply);

  /// Ends the thread that reads long requests, once it has read those that it has. handle() is not
  /// to be called any more. It must be called before the models are destroyed.
  void finish_work();

  /// Whether load balancers may send requests: from the start until the server drains.
  void set_ready(bool ready) { ready_ = ready; }
  /// Where counts for /metrics come from.
  void set_http_counts(std::function<HttpCounts()> counts) { http_counts_ = std::move(counts); }

 private:
  /// Answers the requests of one address.
  using Work = std::function<void(const std::shared_ptr<Request>&, const Reply&)>;
  /// Finds who answers a request, without looking at its body.
  /// @param route  set to the name of the address, for logs and counts, also if this throws
  /// @throws HttpError if the request is to be refused
  Work find_work(const Request& request, std::string& route);
  Work find_work_v2(const Request& request, const Target& target, std::string& route);
  void check_sender(const Request& request) const;
  void check_token(const Request& request) const;
  void record(const Request& request, const std::string& route, Response& response, double seconds);

  ServedModels& models_;
  const ServiceOptions options_;
  Metrics metrics_;
  std::function<HttpCounts()> http_counts_;
  std::atomic<bool> ready_ = false;
  std::atomic<std::uint64_t> next_id_ = 0;
  Worker worker_;  // uses the members above
};

}  // namespace offramp::serve
