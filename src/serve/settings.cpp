#include <toml++/toml.h>

#include <fmt/format.h>

#include <functional>
#include <map>

#include "core/error.h"
#include "core/text.h"
#include "serve/server.h"

namespace offramp::serve {
namespace {

using Set = std::function<void(ServerSettings&, const toml::node&)>;

double number(const toml::node& node, Range<double> range) {
  const auto value = node.value<double>();
  if (!value || !(*value >= range.least && *value <= range.most))
    throw UsageError(fmt::format("expected a number from {} to {}", range.least, range.most));
  return *value;
}

template <typename Integer>
Integer whole(const toml::node& node, Range<int> range) {
  const auto value = node.value_exact<std::int64_t>();
  if (!value || *value < range.least || *value > range.most)
    throw UsageError(fmt::format("expected a whole number from {} to {}", range.least, range.most));
  return static_cast<Integer>(*value);
}

std::string text(const toml::node& node) {
  const auto value = node.value_exact<std::string>();
  if (!value) throw UsageError("expected a text in quotes");
  return *value;
}

bool flag(const toml::node& node) {
  const auto value = node.value_exact<bool>();
  if (!value) throw UsageError("expected true or false");
  return *value;
}

std::size_t mebibytes(const toml::node& node) {
  return whole<std::size_t>(node, ranges::kMebibytes) << 20;
}

const std::map<std::string, Set>& keys() {
  static const std::map<std::string, Set> kKeys{
      {"address", [](auto& s, const auto& n) { s.http.address = text(n); }},
      {"port",
       [](auto& s, const auto& n) { s.http.port = whole<std::uint16_t>(n, ranges::kPort); }},
      {"threads",
       [](auto& s, const auto& n) { s.model.threads = whole<int>(n, ranges::kThreads); }},
      {"batch", [](auto& s, const auto& n) { s.model.batch = whole<int>(n, ranges::kBatch); }},
      {"precision", [](auto& s, const auto& n) { s.model.precision = text(n); }},
      {"max_queue",
       [](auto& s, const auto& n) {
         s.queue.max_queue = whole<std::int64_t>(n, ranges::kMaxQueue);
       }},
      {"max_queue_delay_ms",
       [](auto& s, const auto& n) {
         s.queue.max_queue_delay_ms = number(n, ranges::kMaxQueueDelayMs);
       }},
      {"max_wait_ms",
       [](auto& s, const auto& n) { s.queue.max_wait_ms = number(n, ranges::kMaxWaitMs); }},
      {"max_body_mib", [](auto& s, const auto& n) { s.http.max_body_bytes = mebibytes(n); }},
      {"memory_mib", [](auto& s, const auto& n) { s.http.memory_bytes = mebibytes(n); }},
      {"max_connections",
       [](auto& s, const auto& n) {
         s.http.max_connections = whole<std::size_t>(n, ranges::kMaxConnections);
       }},
      {"max_megapixels",
       [](auto& s, const auto& n) {
         s.queue.max_pixels = 1000000 * whole<std::int64_t>(n, ranges::kMaxMegapixels);
       }},
      {"audit_share",
       [](auto& s, const auto& n) { s.queue.watch.audit_share = number(n, ranges::kAuditShare); }},
      {"on_alarm",
       [](auto& s, const auto& n) { s.queue.watch.on_alarm = on_alarm_from_string(text(n)); }},
      {"token_file", [](auto& s, const auto& n) { s.token_file = text(n); }},
      {"drain_seconds",
       [](auto& s, const auto& n) { s.drain_seconds = number(n, ranges::kDrainSeconds); }},
      {"watch_files", [](auto& s, const auto& n) { s.watch_files = flag(n); }},
      {"log_requests", [](auto& s, const auto& n) { s.log_requests = flag(n); }},
  };
  return kKeys;
}

ModelEntry read_model(const toml::table& table) {
  ModelEntry entry;
  bool has_path = false;
  for (const auto& [key, value] : table) {
    if (key == "path") {
      entry.path = text(value);
      has_path = true;
    } else if (key == "name") {
      entry.name = text(value);
    } else if (key == "version") {
      entry.version = whole<int>(value, {1, 1000000000});
    } else {
      throw UsageError(fmt::format("unknown key {} of a model; expected name, version or path",
                                   core::quote(std::string(key.str()))));
    }
  }
  if (!has_path) throw UsageError("a model has no path");
  if (entry.name.empty()) entry.name = entry.path.stem().string();
  return entry;
}

}  // namespace

OnAlarm on_alarm_from_string(const std::string& word) {
  if (word == "none") return OnAlarm::none;
  if (word == "cautious") return OnAlarm::cautious;
  if (word == "last") return OnAlarm::last;
  throw UsageError(
      fmt::format("on_alarm: expected none, cautious or last, got {}", core::quote(word)));
}

void read_settings(const std::filesystem::path& path, ServerSettings& settings) {
  toml::table file;
  try {
    file = toml::parse_file(path.string());
  } catch (const toml::parse_error& error) {
    throw UsageError(
        fmt::format("{}:{}: {}", path.string(), error.source().begin.line, error.description()));
  }
  std::vector<std::string> names{"model"};
  for (const auto& [name, set] : keys()) names.push_back(name);
  for (const auto& [key, value] : file) {
    const std::string name(key.str());
    try {
      if (name == "model") {
        const toml::array* const list = value.as_array();
        if (list == nullptr) throw UsageError("expected tables [[model]]");
        for (const toml::node& one : *list) {
          if (!one.is_table()) throw UsageError("expected tables [[model]]");
          settings.models.push_back(read_model(*one.as_table()));
        }
      } else if (const auto found = keys().find(name); found != keys().end()) {
        found->second(settings, value);
      } else {
        throw UsageError("unknown key" + core::suggestion(name, names));
      }
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}:{}: {}: {}", path.string(), value.source().begin.line, name,
                                   error.what()));
    }
  }
}

}  // namespace offramp::serve
