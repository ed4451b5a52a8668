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

// HTTP as the handlers see it: no library shows here, so that they are tested without sockets.
namespace offramp::serve {

/// Names and values of headers or of a query, in the order they came.
using Fields = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  ///< "GET"
  std::string target;  ///< path and query, as they came: "/v1/classify?top_k=3"
  Fields headers;      ///< names in lower case
  Body body;
  std::string id;  ///< of this request, in answers and logs; set by the service
  /// Cancelled when the client goes away before it has its answer.
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

/// Gives the response to a request: called once, from any thread.
using Reply = std::function<void(Response)>;
/// Takes a request and sees to it that it gets a response. Must not block.
using Handler = std::function<void(std::shared_ptr<Request>, Reply)>;
/// Looks at a request whose body has not been read yet. Must not block.
/// @return the response that refuses it, without its body being read; nullopt if it is admitted
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

/// {"error": message}; bytes that are not UTF-8 are replaced.
Response error_response(int status, std::string_view message);

/// "400" -> "Bad Request".
std::string_view reason_of(int status);

/// Checks the headers by which a server finds the end and the addressee of a request (RFC 9112, 3.2
/// and 6; RFC 9110, 10.1.1), and gives a target in absolute form ("http://host/path") the origin
/// form, its host becoming the header Host.
/// @throws HttpError 400 for a Host that is missing, given twice or not valid, 417 for an
///         expectation that is not 100-continue, 501 for a transfer coding that is not chunked
void check_headers(Request& request, bool is_http_1_0);

/// Whether a value of Host or of an origin without its scheme is a name of this machine that no
/// name server can give: localhost, 127.x.x.x or [::1], with any port.
bool is_loopback_host(std::string_view host);

/// Whether a value of If-None-Match has the entity tag, by weak comparison (RFC 9110, 13.1.2).
bool has_tag(std::string_view if_none_match, std::string_view tag);

/// A time as the header Date has it: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string http_date(std::time_t time);

/// A text in lower case; only ASCII letters change.
std::string lower(std::string_view text);

/// Path and query of a target, percent-decoded. @throws HttpError 400 for escapes that are not
/// valid, or text that is not UTF-8
struct Target {
  std::vector<std::string> path;  ///< between the slashes: "/v2/models/a%2Fb" -> v2, models, a/b
  Fields query;
};
Target parse_target(std::string_view target);

}  // namespace offramp::serve
