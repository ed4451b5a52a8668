#include "serve/multipart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "serve/http.h"

namespace offramp::serve {
namespace {

constexpr std::size_t kMaxPartHeader = 4096;

/// Returns the value of `key` in "form-data; name=\"a\"; filename=\"b\""; empty if it is missing.
std::string parameter(std::string_view text, std::string_view key) {
  std::size_t at = text.find(';');
  while (at != std::string_view::npos) {
    at = text.find_first_not_of("; \t", at);
    if (at == std::string_view::npos) return {};
    const std::size_t equals = text.find('=', at);
    if (equals == std::string_view::npos) return {};
    const bool found = lower(text.substr(at, equals - at)) == key;
    std::string value;
    std::size_t end = equals + 1;
    if (end < text.size() && text[end] == '"') {
      for (++end; end < text.size() && text[end] != '"'; ++end) {
        if (text[end] == '\\' && end + 1 < text.size()) ++end;
        value += text[end];
      }
      at = text.find(';', end);
    } else {
      const std::size_t stop = std::min(text.find(';', end), text.size());
      value = text.substr(end, stop - end);
      at = stop == text.size() ? std::string_view::npos : stop;
    }
    if (found) return value;
  }
  return {};
}

/// Returns the first position of `mark` in `text` from `from` on; npos if there is none. It takes
/// linear time for every text, whereas std::string_view::find() stops at each first character of
/// the mark.
std::size_t find_mark(std::string_view text, std::string_view mark, std::size_t from) {
  const void* const at = ::memmem(text.data() + from, text.size() - from, mark.data(), mark.size());
  if (at == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(at) - text.data());
}

}  // namespace

bool is_multipart(std::string_view content_type) {
  return lower(content_type.substr(0, 19)) == "multipart/form-data";
}

std::vector<Part> parse_multipart(std::string_view content_type, std::string_view body,
                                  std::size_t max_parts) {
  const std::string boundary = parameter(content_type, "boundary");
  if (boundary.empty() || boundary.size() > 70)
    throw HttpError(400, "multipart: expected a boundary of 1 to 70 characters in Content-Type");
  const std::string mark = "--" + boundary;
  const std::string next_mark = "\r\n" + mark;
  // Text before the first boundary is ignored, as the standard says.
  std::size_t at = body.starts_with(mark) ? 0 : find_mark(body, next_mark, 0);
  if (at == std::string_view::npos)
    throw HttpError(400, "multipart: the boundary is not in the body");
  at += at == 0 && body.starts_with(mark) ? mark.size() : next_mark.size();
  std::vector<Part> parts;
  for (;;) {
    if (body.substr(at, 2) == "--") return parts;
    if (body.substr(at, 2) != "\r\n")
      throw HttpError(400, "multipart: expected a line end after a boundary");
    at += 2;
    if (parts.size() == max_parts)
      throw HttpError(413, fmt::format("multipart: more than {} parts", max_parts));
    Part part;
    const std::size_t header_end = body.substr(at, kMaxPartHeader).find("\r\n\r\n");
    if (header_end == std::string_view::npos)
      throw HttpError(400,
                      fmt::format("multipart: the headers of part {} do not end within {} bytes",
                                  parts.size() + 1, kMaxPartHeader));
    std::string_view headers = body.substr(at, header_end);
    while (!headers.empty()) {
      const std::size_t end = std::min(headers.find("\r\n"), headers.size());
      const std::string_view line = headers.substr(0, end);
      if (lower(line.substr(0, 20)) == "content-disposition:") {
        part.name = parameter(line, "name");
        part.file_name = parameter(line, "filename");
      }
      headers.remove_prefix(std::min(end + 2, headers.size()));
    }
    at += header_end + 4;
    // A part may be empty: its end may begin with the line end of its headers.
    const std::size_t end = find_mark(body, next_mark, at - 2);
    if (end == std::string_view::npos)
      throw HttpError(
          400, fmt::format("multipart: part {} does not end with the boundary", parts.size() + 1));
    part.content = end < at ? std::string_view() : body.substr(at, end - at);
    parts.push_back(std::move(part));
    at = end + next_mark.size();
  }
}

}  // namespace offramp::serve
