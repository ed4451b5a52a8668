#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "offramp/model.h"
#include "serve/batcher.h"
#include "serve/http_server.h"
#include "serve/served_models.h"

namespace offramp::serve {

/// The settings of a server.
struct ServerSettings {
  std::vector<ModelEntry> models;
  Options model;
  BatcherOptions queue;
  HttpOptions http;
  /// File whose first line is the bearer token; empty: no token is required.
  std::filesystem::path token_file;
  double drain_seconds = 30;
  bool watch_files = true;    ///< whether a model is loaded again when its file changes
  bool log_requests = false;  ///< whether a line is logged for every request
};

/// The values that flags and keys of a settings file may have, both ends included.
template <typename Number>
struct Range {
  Number least, most;
};
namespace ranges {
inline constexpr Range<int> kPort{0, 65535}, kThreads{0, 4096}, kBatch{1, 1024},
    kMaxQueue{1, 1000000}, kMaxConnections{1, 1000000}, kMebibytes{1, 1 << 20},
    kMaxMegapixels{1, 134};
inline constexpr Range<double> kMaxQueueDelayMs{0, 10000}, kMaxWaitMs{0, 600000}, kAuditShare{0, 1},
    kDrainSeconds{0, 3600};
}  // namespace ranges

/// Parses "none", "cautious" or "last". @throws UsageError
OnAlarm on_alarm_from_string(const std::string& word);

/// Reads a TOML file into `settings`. Its keys are the names of the flags with _ for -, and a table
/// [[model]] with name, version and path for each model. @throws UsageError "<path>:<line>: …"
void read_settings(const std::filesystem::path& path, ServerSettings& settings);

/// Called once the server answers, with its address: "http://127.0.0.1:8000".
using OnReady = std::function<void(const std::string& address, const ServedModels& models)>;

/// Serves until SIGTERM or SIGINT, then answers the current requests. SIGHUP loads all models
/// again. Logs go to standard error, one JSON object a line. It must be called before any other
/// thread is started.
/// @return whether all requests were answered within drain_seconds @throws Error, UsageError if it
/// cannot start
bool run_server(const ServerSettings& settings, const OnReady& on_ready);

}  // namespace offramp::serve
