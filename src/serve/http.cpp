#include "serve/http.h"

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

}  // namespace

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
