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
  std::uint16_t port = 8000;  ///< 0: any free port
  std::size_t max_body_bytes = std::size_t{32} << 20;
  /// Limit on the memory of all bodies together.
  std::size_t memory_bytes = std::size_t{512} << 20;
  std::size_t max_connections = 2048;
  std::chrono::milliseconds idle_timeout{75'000};  ///< time between two requests of a connection
  /// Time from the first byte of a request to the end of its headers.
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{60'000};
  std::chrono::milliseconds write_timeout{60'000};
  /// Called with one line about an exception that closed a connection. May be empty.
  std::function<void(const std::string& message)> on_fault = {};
};

struct HttpCounts {
  std::size_t connections = 0, requests_under_way = 0, memory_bytes = 0;
};

/// An HTTP/1.1 server with one thread. No other file uses the HTTP library. The requests of a
/// connection are answered one after the other, in order.
class HttpServer {
 public:
  /// Opens the socket, but answers no request before start(). @throws Error if it cannot listen on
  /// the address
  /// @param admit  called after the headers, before a body is read; empty: every request is
  /// admitted
  HttpServer(const HttpOptions& options, Handler handler, Admit admit = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const;
  void start();
  /// Accepts no more connections, answers the current requests, closes each connection after its
  /// answer, and returns when all are closed or after `most`. @return whether all requests were
  /// answered
  bool drain(std::chrono::milliseconds most);
  HttpCounts counts() const;

 private:
  class State;
  std::shared_ptr<State> state_;
};

/// Reads one request from bytes as a connection does, but without a socket, for fuzzing. Bytes
/// after the request are ignored.
/// @return the request, or the response that refuses it (status 0 if none would be sent)
std::variant<std::shared_ptr<Request>, Response> read_request(std::string_view bytes,
                                                              const HttpOptions& options,
                                                              std::shared_ptr<Budget> budget);

}  // namespace offramp::serve
