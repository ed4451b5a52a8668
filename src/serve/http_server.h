#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "serve/http.h"

namespace offramp::serve {

struct HttpOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8000;  ///< 0: any that is free
  std::size_t max_body_bytes = std::size_t{32} << 20;
  std::size_t memory_bytes = std::size_t{512} << 20;  ///< of all bodies under way together
  std::size_t max_connections = 2048;
  std::chrono::milliseconds idle_timeout{75'000};    ///< between the requests of a connection
  std::chrono::milliseconds header_timeout{10'000};  ///< from its first byte to the last header
  std::chrono::milliseconds body_timeout{60'000};
  std::chrono::milliseconds write_timeout{60'000};
  /// Told about an exception that cost a connection, one line. May be empty.
  std::function<void(const std::string& message)> on_fault = {};
};

struct HttpCounts {
  std::size_t connections = 0, requests_under_way = 0, memory_bytes = 0;
};

/// Speaks HTTP/1.1 on one thread of its own. The one place that knows the HTTP library. Requests of
/// a connection are answered one after the other, in order.
class HttpServer {
 public:
  /// Listens, but does not answer yet. @throws Error if the address cannot be listened on
  /// @param admit  asked after the header, before a body is read; empty: every request is admitted
  HttpServer(const HttpOptions& options, Handler handler, Admit admit = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const;
  void start();
  /// Accepts no more connections, answers what is under way, closes each connection after its
  /// answer, and returns when all are closed or after `most`. @return whether all were answered
  bool drain(std::chrono::milliseconds most);
  HttpCounts counts() const;

 private:
  class State;
  std::shared_ptr<State> state_;
};

/// Reads one request from bytes as a connection does, but without a socket, so that a fuzzer can do
/// it. What follows the request is ignored.
/// @return the request; or the response that refuses it, of status 0 if there would be none
std::variant<std::shared_ptr<Request>, Response> read_request(std::string_view bytes,
                                                              const HttpOptions& options,
                                                              std::shared_ptr<Budget> budget);

}  // namespace offramp::serve
