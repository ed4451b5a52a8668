#include "serve/server.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>

#include "core/error.h"
#include "core/file.h"
#include "serve/json_text.h"
#include "serve/service.h"

namespace offramp::serve {
namespace {

/// Writes one JSON object as a line to standard error, in one write.
void log(std::string_view level, std::string_view message, Json fields = {}) {
  const auto now = std::chrono::system_clock::now();
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  Json line{{"time", fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                                 fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms)},
            {"level", std::string(level)},
            {"message", std::string(message)}};
  for (auto& [key, value] : fields.items()) line[key] = value;
  const std::string text = json_line(line);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

std::string read_token(const std::filesystem::path& path) {
  if (path.empty()) return {};
  std::string token = core::read_text(path);
  token.resize(std::min(token.find_first_of("\r\n"), token.size()));
  if (token.size() < 16)
    throw UsageError(fmt::format("{}: expected a token of at least 16 characters in the first line",
                                 path.string()));
  return token;
}

/// Raises the limit on file descriptors. Each connection needs one, and many systems limit a
/// process to 1024. @return how many connections the process can have
std::size_t allow_connections(std::size_t wanted) {
  constexpr rlim_t kOthers = 128;  // descriptors of files, pipes and libraries
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  const rlim_t needed = wanted + kOthers;
  if (limit.rlim_cur < needed) {
    limit.rlim_cur = std::min<rlim_t>(needed, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur >= needed ? wanted : std::max<std::size_t>(limit.rlim_cur / 2, 1);
}

bool is_loopback(const std::string& address) {
  return address == "localhost" || address == "::1" || address.starts_with("127.");
}

/// Its destructor ends the threads that send requests to the models: that of the HTTP server and
/// the service's own.
struct EndRequests {
  HttpServer& http;
  Service& service;
  ~EndRequests() {
    http.drain(std::chrono::milliseconds(0));
    service.finish_work();
  }
};

}  // namespace

bool run_server(const ServerSettings& settings, const OnReady& on_ready) {
  // This is checked first, so that an invalid command line is reported even if the port is not
  // free.
  if (settings.models.empty()) throw UsageError("serve: there is no model to serve");
  if (settings.queue.max_wait_ms > 0 && settings.queue.max_queue_delay_ms > 0)
    throw UsageError(
        "serve: --max-wait-ms and --max-queue-delay-ms exclude each other: images that wait for "
        "others to fill a batch would count as slow");
  // Threads that are started later inherit this mask, so signals are delivered to this thread only.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int one : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, one);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  ServiceOptions options;
  options.token = read_token(settings.token_file);
  options.on_loopback = is_loopback(settings.http.address);
  options.on_request = [&](const RequestRecord& record) {
    if (!settings.log_requests && record.status < 500) return;
    // An overload is counted in /metrics and not logged.
    if (!settings.log_requests && record.status == 503) return;
    log(record.status >= 500 ? "error" : "info", "request",
        {{"request", record.id},
         {"method", record.method},
         {"route", record.route},
         {"status", record.status},
         {"milliseconds", record.milliseconds}});
  };

  // Objects are destroyed in the reverse order, so models answer their waiting images while the
  // server still exists. Before that, also after an exception, EndRequests stops all threads that
  // could send requests to the models.
  std::shared_ptr<Service> service;
  HttpOptions http_options = settings.http;
  http_options.max_connections = allow_connections(settings.http.max_connections);
  if (http_options.max_connections < settings.http.max_connections)
    log("warning", fmt::format("{} connections instead of {}: the system allows no more open files",
                               http_options.max_connections, settings.http.max_connections));
  http_options.on_fault = [](const std::string& message) {
    log("error", "a connection was closed: " + message);
  };
  HttpServer http(
      http_options,
      [&service](std::shared_ptr<Request> request, Reply reply) {
        service->handle(std::move(request), std::move(reply));
      },
      [&service](Request& request) { return service->admit(request); });
  ServedModels models(
      settings.models, settings.model, settings.queue,
      [](const std::string& level, const std::string& message) { log(level, message); });
  service = std::make_shared<Service>(models, options);
  service->set_http_counts([&http] { return http.counts(); });
  const EndRequests end_requests{http, *service};
  http.start();
  service->set_ready(true);
  const bool is_v6 = settings.http.address.find(':') != std::string::npos;
  const std::string host =
      is_v6 ? fmt::format("[{}]", settings.http.address) : settings.http.address;
  const std::string address = fmt::format("http://{}:{}", host, http.port());
  if (!options.on_loopback && options.token.empty())
    log("warning", "other machines can use this server without a token; see --token-file");
  on_ready(address, models);
  for (;;) {
    const timespec second{1, 0};
    const int signal = sigtimedwait(&signals, nullptr, &second);
    if (signal == SIGTERM || signal == SIGINT) break;
    if (signal == SIGHUP)
      models.reload(true);
    else if (settings.watch_files)
      models.reload(false);
    models.free_replaced();
  }
  service->set_ready(false);
  log("info", "draining");
  const auto most = std::chrono::duration<double>(settings.drain_seconds);
  const bool all = http.drain(std::chrono::duration_cast<std::chrono::milliseconds>(most));
  log(all ? "info" : "warning", all ? "stopped" : "stopped; some requests had no answer in time");
  return all;
}

}  // namespace offramp::serve
