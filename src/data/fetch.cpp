#include "data/fetch.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/numbers.h"
#include "data/partial_download.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using detail::PartialDownload;

struct Known {
  std::string_view name, url, md5, variable;
};

constexpr Known kKnown[] = {
    {"cifar10", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
     "c32a1d4ab5d03f1284b67883e8d87530", "OFFRAMP_CIFAR10_URL"},
    {"cifar100", "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
     "03b5dce01913d631647c71ecec9e9cb8", "OFFRAMP_CIFAR100_URL"},
};

// Returns a URL as messages show it: without the user name and the password that it may contain.
std::string without_credentials(const std::string& url) {
  const std::size_t slashes = url.find("://");
  const std::size_t begin = slashes == url.npos ? 0 : slashes + 3;
  const std::size_t at = url.rfind('@', url.find_first_of("/?#", begin));
  return at == url.npos || at < begin ? url : url.substr(0, begin) + url.substr(at + 1);
}

// Returns the protocol to download this URL with, in the spelling of libcurl.
std::string allowed_protocol(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  const auto part = [&](CURLUPart which) {
    char* text = nullptr;
    std::string result;
    if (curl_url_get(parsed.get(), which, &text, 0) == CURLUE_OK) result = text;
    curl_free(text);
    return result;
  };
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    throw Error(fmt::format("{}: not a URL", core::quote(without_credentials(url))));
  }
  const std::string scheme = part(CURLUPART_SCHEME), host = part(CURLUPART_HOST);
  if (scheme == "https") return "https";
  const bool loopback = host == "localhost" || host == "127.0.0.1" || host == "[::1]";
  if (scheme == "http" && loopback) return "http";
  throw Error(fmt::format("{}: only https:// is allowed", core::quote(without_credentials(url))));
}

// Returns what the user can do if the server sends nothing.
std::string advice(const PartialDownload& part) {
  fs::path target = part.path();
  target.replace_extension();  // .part
  return "; download it on another machine and copy it to " + target.string();
}

// The result of one HTTP request.
enum class Outcome {
  complete,
  lost,         // the connection broke; the bytes received are kept and the rest can be requested
  unreachable,  // the server did not answer
  restart,      // the bytes received earlier do not match the server's file
};

// One HTTP request for the bytes that are still missing from the file.
class Request {
 public:
  Request(const std::string& url, PartialDownload& part, const FetchOptions& options,
          const std::function<void(const FetchProgress&)>& progress)
      : url_(url), file_(part), options_(options), progress_(progress) {}

  Outcome run();
  const std::string& reason() const { return reason_; }

 private:
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self) {
    return static_cast<Request*>(self)->store_exception([&](Request& request) {
      return request.receive(std::as_bytes(std::span(data, size)));
    })
               ? size
               : 0;
  }
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Request*>(self)->store_exception([](Request& request) {
      request.report();
      return true;
    })
               ? 0
               : 1;
  }

  // Exceptions must not pass through libcurl, so they are stored and rethrown by run().
  template <typename Work>
  bool store_exception(const Work& work) {
    try {
      return work(*this);
    } catch (...) {
      failure_ = std::current_exception();
      return false;
    }
  }

  void set_up(const std::string& protocol);
  bool receive(std::span<const std::byte> bytes);
  bool begin_body();
  void report() const {
    if (progress_) progress_({file_.size(), total_});
  }
  Outcome outcome_of(CURLcode code);
  long status() const;
  // Returns <begin> of the header "Content-Range: bytes <begin>-<end>/<total>" of a 206 response.
  std::optional<std::int64_t> range_begin() const;

  const std::string& url_;
  PartialDownload& file_;
  const FetchOptions& options_;
  const std::function<void(const FetchProgress&)>& progress_;
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_{curl_easy_init(), curl_easy_cleanup};
  std::array<char, CURL_ERROR_SIZE> message_{};
  std::string reason_;
  std::int64_t total_ = 0;
  bool body_begun_ = false, range_mismatch_ = false;
  std::exception_ptr failure_;
};

void Request::set_up(const std::string& protocol) {
  CURL* curl = curl_.get();
  curl_easy_setopt(curl, CURLOPT_URL, url_.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocol.c_str());
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
  // http:// URLs are on the loopback interface only, which a proxy cannot reach.
  if (protocol == "http") curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "offramp");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(options_.connect_timeout_s));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1024L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.low_speed_s));
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message_.data());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Request::on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Request::on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

Outcome Request::run() {
  if (!curl_) throw Error(fmt::format("{}: libcurl cannot start", without_credentials(url_)));
  set_up(allowed_protocol(url_));
  // CURLOPT_RESUME_FROM is not used because it fails if the server sends the whole file.
  const std::string range = fmt::format("{}-", file_.size());
  if (file_.size() > 0) curl_easy_setopt(curl_.get(), CURLOPT_RANGE, range.c_str());
  const CURLcode code = curl_easy_perform(curl_.get());
  if (failure_) std::rethrow_exception(failure_);
  report();
  return outcome_of(code);
}

long Request::status() const {
  long status = 0;
  curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
  return status;
}

std::optional<std::int64_t> Request::range_begin() const {
  curl_header* header = nullptr;
  if (curl_easy_header(curl_.get(), "Content-Range", 0, CURLH_HEADER, -1, &header) != CURLHE_OK) {
    return std::nullopt;
  }
  std::string_view value = header->value;
  constexpr std::string_view kUnit = "bytes ";
  if (!value.starts_with(kUnit)) return std::nullopt;
  value.remove_prefix(kUnit.size());
  return core::take_number<std::int64_t>(value);
}

bool Request::begin_body() {
  if (status() == 206) {
    range_mismatch_ = range_begin() != file_.size();
    if (range_mismatch_) return false;
  } else if (file_.size() > 0) {
    file_.clear();
  }
  curl_off_t length = 0;
  curl_easy_getinfo(curl_.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  total_ = length > 0 ? file_.size() + length : 0;
  return true;
}

bool Request::receive(std::span<const std::byte> bytes) {
  // The body of an error response is not part of the file.
  if (status() != 200 && status() != 206) return true;
  if (!body_begun_ && !begin_body()) return false;
  body_begun_ = true;
  if (std::max(total_, file_.size() + std::ssize(bytes)) > options_.max_bytes) {
    throw Error(fmt::format("{}: larger than the limit: {} bytes", without_credentials(url_),
                            options_.max_bytes));
  }
  file_.append(bytes);
  return true;
}

Outcome Request::outcome_of(CURLcode code) {
  reason_ = message_[0] != '\0' ? message_.data() : curl_easy_strerror(code);
  if (range_mismatch_) return Outcome::restart;
  switch (code) {
    case CURLE_OK:
      break;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return Outcome::unreachable;
    case CURLE_OPERATION_TIMEDOUT:
      return status() == 0 ? Outcome::unreachable : Outcome::lost;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return Outcome::lost;
    case CURLE_SSL_CONNECT_ERROR:
      // Bytes received earlier prove that TLS works with this server: only this handshake broke.
      if (file_.size() > 0) return Outcome::lost;
      [[fallthrough]];
    default:
      throw Error(fmt::format("{}: cannot download: {}{}", without_credentials(url_), reason_,
                              advice(file_)));
  }
  switch (const long http = status()) {
    case 200:
    case 206:
      if (body_begun_) return Outcome::complete;
      reason_ = "the server sent an empty response";
      return Outcome::lost;
    case 416:
      if (file_.size() > 0) return Outcome::restart;
      [[fallthrough]];
    default:
      if (http != 408 && http != 429 && http < 500)
        throw Error(
            fmt::format("{}: HTTP status {}{}", without_credentials(url_), http, advice(file_)));
      reason_ = fmt::format("HTTP status {}", http);
      return Outcome::lost;
  }
}

// Creates a folder with those above it. The destructor removes those that were created and are
// still empty.
class CreatedFolders {
 public:
  explicit CreatedFolders(const fs::path& folder) {
    std::error_code failed;
    for (fs::path above = folder; !above.empty() && !fs::exists(above, failed) && !failed;
         above = above.parent_path())
      created_.push_back(above);
    failed.clear();
    fs::create_directories(folder, failed);
    if (failed)
      throw Error(fmt::format("{}: cannot create: {}", folder.string(), failed.message()));
  }
  CreatedFolders(const CreatedFolders&) = delete;
  CreatedFolders& operator=(const CreatedFolders&) = delete;
  ~CreatedFolders() {
    std::error_code not_empty;
    for (const fs::path& folder : created_) fs::remove(folder, not_empty);
  }

 private:
  std::vector<fs::path> created_;  // innermost first
};

// Sends requests until the file is complete. The content is not checked here.
void receive_all(const std::string& url, PartialDownload& part, const FetchOptions& options,
                 const std::function<void(const FetchProgress&)>& progress) {
  std::int64_t largest_size = part.size();
  bool reached = false;
  for (int tries = 0;;) {
    Request request(url, part, options, progress);
    const Outcome outcome = request.run();
    if (outcome == Outcome::complete) return;
    if (outcome == Outcome::unreachable && !reached) {
      throw Error(fmt::format("{}: cannot reach the server: {}{}", without_credentials(url),
                              request.reason(), advice(part)));
    }
    reached = true;
    if (outcome == Outcome::restart) part.clear();
    // Retries are counted anew only after new bytes, so a server that restarts and fails at the
    // same byte again and again is given up.
    if (part.size() > largest_size) tries = 0;
    largest_size = std::max(largest_size, part.size());
    if (tries == options.retries) {
      const std::string kept = part.size() == 0 ? ""
                                                : fmt::format("; {} bytes are kept in {}",
                                                              part.size(), part.path().string());
      throw Error(fmt::format("{}: connection lost: {}{}", without_credentials(url),
                              request.reason(), kept));
    }
    if (outcome != Outcome::restart) {
      std::this_thread::sleep_for(std::chrono::milliseconds(options.pause_ms) *
                                  (1 << std::min(tries, 6)));
    }
    ++tries;
  }
}

}  // namespace

Download known_download(const std::string& name) {
  for (const Known& known : kKnown) {
    if (known.name != name) continue;
    const char* url_from_environment = std::getenv(known.variable.data());
    const std::string_view url = url_from_environment != nullptr && *url_from_environment != '\0'
                                     ? url_from_environment
                                     : known.url;
    return {std::string(url), std::string(known.md5),
            std::string(known.url.substr(known.url.rfind('/') + 1))};
  }
  throw UsageError(
      fmt::format("unknown download {}; expected cifar10 or cifar100", core::quote(name)));
}

fs::path fetch(const Download& download, const fs::path& folder,
               const std::function<void(const FetchProgress&)>& progress,
               const FetchOptions& options) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK)
    throw Error(fmt::format("libcurl cannot start: {}", curl_easy_strerror(ready)));
  allowed_protocol(download.url);

  fs::path target = folder / download.file_name;
  if (fs::exists(target) && detail::md5_of_file(target) == download.md5) return target;
  const CreatedFolders created(folder);
  PartialDownload part(target);
  // An earlier run may have been stopped after the last byte but before the file was renamed.
  if (part.md5() != download.md5) receive_all(download.url, part, options, progress);
  if (const std::string md5 = part.md5(); md5 != download.md5) {
    const std::int64_t bytes = part.size();
    part.remove();
    throw Error(
        fmt::format("{}: wrong MD5, the damaged part is removed: {} bytes have {}, expected {}",
                    without_credentials(download.url), bytes, md5, download.md5));
  }
  part.publish();
  return target;
}

}  // namespace offramp::data
