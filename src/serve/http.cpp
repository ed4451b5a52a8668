#include "serve/http.h"

#include <arpa/inet.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/text.h"
#include "serve/json_text.h"

namespace offramp::serve {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decode(std::string_view text, bool plus_is_space) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      result += ' ';
    } else if (text[i] != '%') {
      result += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0)
        throw HttpError(400, "target: a % is not followed by two hexadecimal digits");
      result += static_cast<char>(16 * high + low);
      i += 2;
    }
  }
  if (!core::is_printable(result))
    throw HttpError(400, "target: the text is not valid UTF-8, or has control characters");
  return result;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Whether all characters may occur in a host and port (RFC 3986, 3.2.2 and 3.2.3).
bool is_valid_host(std::string_view host) {
  return std::ranges::all_of(host, [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("-._~%!$&'()*+,;=:[]").find(c) != std::string_view::npos;
  });
}

/// Returns the value of a header; nullptr if there is none. @throws HttpError 400 if it is given
/// twice
std::string* only_header(Request& request, std::string_view name) {
  std::string* found = nullptr;
  for (auto& [key, value] : request.headers) {
    if (key != name) continue;
    if (found != nullptr)
      throw HttpError(400, fmt::format("request: the header {} is given twice", name));
    found = &value;
  }
  return found;
}

/// Changes a target "http://host/path?query" to "/path?query" and sets the header Host to its host.
void to_origin_form(Request& request) {
  const std::string scheme = lower(std::string_view(request.target).substr(0, 8));
  const std::size_t begin = scheme.starts_with("http://") ? 7 : scheme == "https://" ? 8 : 0;
  if (begin == 0) return;
  const std::size_t end =
      std::min(request.target.find_first_of("/?", begin), request.target.size());
  const std::string host = request.target.substr(begin, end - begin);
  if (host.empty() || !is_valid_host(host)) throw HttpError(400, "target: the host is not valid");
  request.target.erase(0, end);
  if (!request.target.starts_with('/')) request.target.insert(0, 1, '/');
  if (std::string* const header = only_header(request, "host"))
    *header = host;
  else
    request.headers.emplace_back("host", host);
}

}  // namespace

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

void check_headers(Request& request, bool is_http_1_0) {
  const std::string* const host = only_header(request, "host");
  if (host == nullptr && !is_http_1_0)
    throw HttpError(400, "request: HTTP/1.1 requires the header Host");
  if (host != nullptr && !is_valid_host(*host))
    throw HttpError(400, "request: the header Host is not valid");
  to_origin_form(request);
  if (const std::string* const coding = only_header(request, "transfer-encoding")) {
    if (is_http_1_0) throw HttpError(400, "request: HTTP/1.0 has no Transfer-Encoding");
    if (lower(*coding) != "chunked")
      throw HttpError(501, "request: Transfer-Encoding: only chunked is supported");
  }
  if (const std::string* const expect = only_header(request, "expect"))
    if (lower(*expect) != "100-continue")
      throw HttpError(417, "request: Expect: only 100-continue is supported");
}

bool is_loopback_host(std::string_view host) {
  std::size_t end = host.starts_with('[') ? host.find(']') : host.find(':');
  if (host.starts_with('[') && end != std::string_view::npos) ++end;
  const std::string name = lower(host.substr(0, end));
  const std::string_view port = end >= host.size() ? "" : host.substr(end);
  if (!port.empty() && (port[0] != ':' || !std::ranges::all_of(port.substr(1), is_digit)))
    return false;
  in_addr address{};
  return name == "localhost" || name == "[::1]" ||
         (name.starts_with("127.") && ::inet_pton(AF_INET, name.c_str(), &address) == 1);
}

bool has_tag(std::string_view if_none_match, std::string_view tag) {
  // The server's own tags have no comma, so the list can be split at each comma.
  while (!if_none_match.empty()) {
    const std::size_t comma = std::min(if_none_match.find(','), if_none_match.size());
    std::string_view one = trim(if_none_match.substr(0, comma));
    if (one == "*") return true;
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == tag) return true;
    if_none_match.remove_prefix(std::min(comma + 1, if_none_match.size()));
  }
  return false;
}

std::string http_date(std::time_t time) {
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(time));
}

Response error_response(int status, std::string_view message) {
  Response response;
  response.status = status;
  response.body = "{\"error\":" + json_string(message) + "}\n";
  if (status == 503 || status == 429) response.headers.emplace_back("Retry-After", "1");
  return response;
}

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    default:
      return status < 500 ? "Bad Request" : "Internal Server Error";
  }
}

Target parse_target(std::string_view target) {
  Target result;
  const std::size_t mark = target.find('?');
  std::string_view path = target.substr(0, mark);
  if (path.empty() || path.front() != '/')
    throw HttpError(400, "target: expected a path that begins with /");
  for (path.remove_prefix(1); !path.empty();) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    result.path.push_back(decode(path.substr(0, slash), false));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  std::string_view query = mark == std::string_view::npos ? "" : target.substr(mark + 1);
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    if (!pair.empty())
      result.query.emplace_back(decode(pair.substr(0, equals), true),
                                decode(pair.substr(std::min(equals + 1, pair.size())), true));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return result;
}

}  // namespace offramp::serve
