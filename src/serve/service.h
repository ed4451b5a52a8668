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

/// The facts about an answered request, for logs.
struct RequestRecord {
  std::string id, method, route;
  int status = 0;
  double milliseconds = 0;
};

struct ServiceOptions {
  std::string token =
      {};  ///< bearer token that requests must contain, except for the page and health; empty: none
  /// Whether only this machine can reach the server. Requests without a token are then accepted
  /// only under a name of this machine. This refuses a web page whose host name was bound to
  /// 127.0.0.1 (DNS rebinding), because its requests contain that host name.
  bool on_loopback = false;
  /// Called after each request, from any thread.
  std::function<void(const RequestRecord&)> on_request = {};
};

/// The routes of the server: finds the function that answers a request. Independent of sockets.
/// Thread-safe.
class Service {
 public:
  Service(ServedModels& models, const ServiceOptions& options);

  /// Refuses requests that can be refused without reading the body: a wrong address, method or
  /// host, a missing token, or images for a model whose queue is full. So an overload costs little,
  /// and the images that were accepted keep the processor.
  /// @return the response; nullopt if the body is to be read and handle() to be called
  std::optional<Response> admit(Request& request);
  /// Answers a request, perhaps later and from another thread. Makes all checks of admit() but that
  /// of the queue, which is made when the number of images is known.
  void handle(std::shared_ptr<Request> request, Reply reply);

  /// Ends the thread that reads long requests, after it has read those that it has. handle() must
  /// not be called any more. This must be called before the models are destroyed.
  void finish_work();

  /// Sets whether load balancers may send requests: true from the start until the server drains.
  void set_ready(bool ready) { ready_ = ready; }
  /// Sets the function that returns the counts for /metrics.
  void set_http_counts(std::function<HttpCounts()> counts) { http_counts_ = std::move(counts); }

 private:
  /// What answers the requests of one address.
  struct Work {
    std::function<void(const std::shared_ptr<Request>&, const Reply&)> answer;
    std::shared_ptr<ServedModel> model = {};  ///< the model that takes the request's images, if any
  };
  /// Finds the function that answers a request, without reading the request's body.
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
  Worker worker_;  // declared last, because it uses the members above
};

}  // namespace offramp::serve
