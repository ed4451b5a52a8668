#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "offramp/error.h"
#include "offramp/session.h"
#include "serve/budget.h"

// HTTP as the handlers see it. It does not depend on the HTTP library, so handlers can be tested
// without sockets.
namespace offramp::serve {

/// Names and values of headers or of a query, in the order in which they arrived.
using Fields = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  ///< "GET"
  std::string target;  ///< path and query as they arrived: "/v1/classify?top_k=3"
  Fields headers;      ///< names in lower case
  Body body;
  std::string id;  ///< identifier of the request in answers and logs; set by the service
  /// Cancelled if the client closes the connection before it has its answer.
  Cancellation cancellation;

  /// @param name  in lower case  @return the first value; nullptr if there is none
  const std::string* header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return &value;
    return nullptr;
  }
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  Fields headers = {};
};

/// A function that sends the response to a request. It is called once, from any thread.
using Reply = std::function<void(Response)>;
/// A function that handles a request and ensures that a response is sent. It must not block.
using Handler = std::function<void(std::shared_ptr<Request>, Reply)>;
/// A function that checks a request whose body has not been read yet. It must not block.
/// @return a response that refuses the request, without its body being read; nullopt if it is
/// admitted
using Admit = std::function<std::optional<Response>(Request&)>;

/// A request that is answered with an error.
class HttpError : public Error {
 public:
  HttpError(int status, const std::string& message, Fields headers = {})
      : Error(message), status_(status), headers_(std::move(headers)) {}
  ~HttpError() override = default;
  int status() const { return status_; }
  const Fields& headers() const { return headers_; }

 private:
  int status_;
  Fields headers_;
};

/// Returns a response with the body {"error": message}. Bytes that are not UTF-8 are replaced.
Response error_response(int status, std::string_view message);

/// Returns the reason phrase of a status: "Bad Request" for 400.
std::string_view reason_of(int status);

/// Checks the headers by which a server finds the end and the addressee of a request (RFC 9112, 3.2
/// and 6; RFC 9110, 10.1.1), and gives a target in absolute form ("http://host/path") the origin
/// form, its host becoming the header Host.
/// @throws HttpError 400 for a Host that is missing, given twice or not valid, 417 for an
///         expectation that is not 100-continue, 501 for a transfer coding that is not chunked
void check_headers(Request& request, bool is_http_1_0);

/// Whether a value of Host, or of an origin without its scheme, is a name of this machine that no
/// name server can assign: localhost, 127.x.x.x or [::1], with any port.
bool is_loopback_host(std::string_view host);

/// Whether a value of If-None-Match contains the entity tag, by weak comparison (RFC 9110, 13.1.2).
bool has_tag(std::string_view if_none_match, std::string_view tag);

/// Returns a time in the format of the header Date: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string http_date(std::time_t time);

/// Returns a text in lower case; only ASCII letters change.
std::string lower(std::string_view text);

/// The path and query of a target, percent-decoded.
/// @throws HttpError 400 for escapes that are not valid, or text that is not UTF-8
struct Target {
  /// The parts between the slashes: "/v2/models/a%2Fb" -> v2, models, a/b.
  std::vector<std::string> path;
  Fields query;
};
Target parse_target(std::string_view target);

}  // namespace offramp::serve
