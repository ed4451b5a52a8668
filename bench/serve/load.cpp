// Asks a server on this machine as often as it answers, or at a given rate, and prints one JSON
// object: requests by status, latencies of the accepted ones, processor time and memory of the
// server. It ends after a number of requests or seconds, whichever comes first.
//
//   load --port 8000                          32 connections, each asks again when it has its
//   answer load --port 8000 --rate 500               500 requests a second, whatever the server
//   does load --port 8000 --pid PID --requests 1000000 --seconds 600
//
// Without --body it sends one-image requests of the Open Inference Protocol, pixels as binary data.
// At a given rate the latency counts from the time when a request was due, also if no connection
// was free then: a server that stalls cannot hide it.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <unistd.h>
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <deque>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/random.h"

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

struct Options {
  std::uint16_t port = 8000;
  std::string target = "/v2/models/cifar10-3-exits/infer";
  std::string body_file, parameters;
  std::vector<std::string> headers;
  int connections = 32, side = 32;
  double rate = 0;  ///< requests a second; 0: as fast as the answers come
  std::int64_t requests = 100'000;
  double seconds = 60, warm_up = 1;
  int pid = 0;
};

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

/// Seconds of processor time and bytes of memory of a process so far; zeros if they are not known.
struct Usage {
  double cpu = 0, resident = 0;
};
Usage usage_of(int pid) {
  Usage usage;
  if (pid == 0) return usage;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t end = text.rfind(')');
  if (end == std::string::npos) return usage;
  std::istringstream fields(text.substr(end + 1));
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;
  double user = 0, system = 0, pages = 0;
  fields >> user >> system;
  for (int i = 16; i < 24; ++i) fields >> skipped;
  fields >> pages;
  usage.cpu = (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  usage.resident = pages * static_cast<double>(sysconf(_SC_PAGESIZE));
  return usage;
}

/// Requests that differ in their pixels, so that images leave at different exits.
std::vector<http::request<http::string_body>> make_requests(const Options& options) {
  std::vector<http::request<http::string_body>> requests;
  offramp::core::KeyedRandom random(1, 2);
  for (int i = 0; i < 64; ++i) {
    http::request<http::string_body> request(http::verb::post, options.target, 11);
    request.set(http::field::host, "127.0.0.1");
    if (!options.body_file.empty()) {
      std::ifstream file(options.body_file, std::ios::binary);
      if (!file) throw CLI::ValidationError("--body", options.body_file + ": cannot be read");
      request.body().assign(std::istreambuf_iterator<char>(file), {});
    } else {
      const std::size_t size = 3 * static_cast<std::size_t>(options.side * options.side);
      const std::string json = fmt::format(
          R"({{"parameters":{{{}}},"inputs":[{{"name":"image","datatype":"UINT8",)"
          R"("shape":[1,{},{},3],"parameters":{{"binary_data_size":{}}}}}],)"
          R"("outputs":[{{"name":"class_index","parameters":{{"binary_data":true}}}}]}})",
          options.parameters, options.side, options.side, size);
      request.set("Inference-Header-Content-Length", std::to_string(json.size()));
      std::string pixels(size, '\0');
      // Blocks of one colour: noise alone would be unlike any image.
      const auto base = static_cast<int>(random.below(200));
      for (char& value : pixels)
        value = static_cast<char>(base + static_cast<int>(random.below(56)));
      request.body() = json + pixels;
    }
    for (const std::string& header : options.headers) {
      const std::size_t colon = header.find(':');
      if (colon == std::string::npos)
        throw CLI::ValidationError("--header", header + ": expected NAME: VALUE");
      request.set(header.substr(0, colon),
                  header.substr(std::min(header.find_first_not_of(' ', colon + 1), header.size())));
    }
    request.prepare_payload();
    requests.push_back(std::move(request));
  }
  return requests;
}

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options), requests_(make_requests(options)), tick_(context_), arrival_(context_) {}

  Json run() {
    for (int i = 0; i < options_.connections; ++i)
      connections_.push_back(std::make_unique<Connection>(*this));
    begin_ = Clock::now();
    tick();
    if (options_.rate > 0) {
      for (const auto& one : connections_) free_.push_back(one.get());
      next_arrival_ = begin_;
      arrive();
    } else {
      for (const auto& one : connections_) one->send(Clock::now());
    }
    context_.run();
    return result();
  }

 private:
  class Connection {
   public:
    explicit Connection(Load& load) : load_(load), stream_(load.context_) {}
    /// @param due  the time from which the latency counts
    void send(Clock::time_point due) {
      if (load_.is_over_) return;
      due_ = due;
      if (is_open_) return write();
      const tcp::endpoint server(asio::ip::address_v4::loopback(), load_.options_.port);
      stream_.async_connect(server, [this](error_code error) {
        if (error) return fail("connect");
        error_code ignored;
        stream_.socket().set_option(tcp::no_delay(true), ignored);
        is_open_ = true;
        write();
      });
    }
    void close() {
      error_code ignored;
      stream_.socket().close(ignored);
      is_open_ = false;
    }

   private:
    void write() {
      const auto& request = load_.requests_[load_.sent_++ % load_.requests_.size()];
      http::async_write(stream_, request, [this](error_code error, std::size_t) {
        if (error) return fail("write");
        response_ = {};
        http::async_read(stream_, buffer_, response_, [this](error_code failed, std::size_t) {
          if (failed) return fail("read");
          const bool keep = response_.keep_alive();
          if (!keep) close();
          load_.count(std::to_string(response_.result_int()), due_, response_.result_int() == 200);
          load_.is_free(*this);
        });
      });
    }
    void fail(const char* what) {
      close();
      buffer_.clear();
      load_.count(what, due_, false);
      load_.is_free(*this);
    }

    Load& load_;
    boost::beast::tcp_stream stream_;
    boost::beast::flat_buffer buffer_;
    http::response<http::string_body> response_;
    Clock::time_point due_;
    bool is_open_ = false;
  };

  void count(const std::string& status, Clock::time_point due, bool accepted) {
    const auto now = Clock::now();
    if (is_over_ || seconds_between(begin_, now) < options_.warm_up) return;
    ++statuses_[status];
    if (accepted) latencies_ms_.push_back(1e3 * seconds_between(due, now));
    last_ = now;
    if (++counted_ >= options_.requests) end();
  }
  void is_free(Connection& one) {
    if (is_over_) return one.close();
    if (options_.rate <= 0) return one.send(Clock::now());
    if (due_.empty()) {
      free_.push_back(&one);
    } else {
      const auto due = due_.front();
      due_.pop_front();
      one.send(due);
    }
  }
  /// The next request is due, in equal intervals.
  void arrive() {
    if (is_over_) return;
    while (next_arrival_ <= Clock::now()) {
      if (free_.empty()) {
        due_.push_back(next_arrival_);
        most_due_ = std::max(most_due_, due_.size());
      } else {
        Connection* const one = free_.back();
        free_.pop_back();
        one->send(next_arrival_);
      }
      next_arrival_ += std::chrono::duration_cast<Clock::duration>(
          std::chrono::duration<double>(1 / options_.rate));
    }
    arrival_.expires_at(next_arrival_);
    arrival_.async_wait([this](error_code) { arrive(); });
  }
  /// Looks at the clock and at the server ten times a second.
  void tick() {
    const auto now = Clock::now();
    const Usage usage = usage_of(options_.pid);
    if (!began_ && seconds_between(begin_, now) >= options_.warm_up) {
      began_ = true;
      before_ = usage;
      counting_since_ = now;
    }
    most_resident_ = std::max(most_resident_, usage.resident);
    if (seconds_between(begin_, now) >= options_.seconds + options_.warm_up) end();
    if (is_over_) return;
    tick_.expires_after(std::chrono::milliseconds(100));
    tick_.async_wait([this](error_code) { tick(); });
  }
  void end() {
    if (is_over_) return;
    is_over_ = true;
    after_ = usage_of(options_.pid);
    tick_.cancel();
    arrival_.cancel();
    for (const auto& one : connections_) one->close();
  }

  Json result() {
    std::sort(latencies_ms_.begin(), latencies_ms_.end());
    const auto quantile = [&](double share) -> Json {
      if (latencies_ms_.empty()) return nullptr;
      const auto rank = static_cast<std::size_t>(
          std::ceil(share * static_cast<double>(latencies_ms_.size()) - 1e-9));
      return latencies_ms_[std::max<std::size_t>(rank, 1) - 1];
    };
    const double seconds = std::max(1e-9, seconds_between(counting_since_, last_));
    const auto count = static_cast<double>(std::max<std::int64_t>(counted_, 1));
    Json json{{"mode", options_.rate > 0 ? "open" : "closed"},
              {"connections", options_.connections},
              {"rate", options_.rate > 0 ? Json(options_.rate) : Json(nullptr)},
              {"requests", counted_},
              {"seconds", seconds},
              {"requests_per_second", static_cast<double>(counted_) / seconds},
              {"accepted_per_second", static_cast<double>(latencies_ms_.size()) / seconds},
              {"statuses", statuses_},
              {"latency_ms",
               {{"p50", quantile(0.5)},
                {"p95", quantile(0.95)},
                {"p99", quantile(0.99)},
                {"max", quantile(1)}}},
              {"most_waiting", most_due_}};
    if (options_.pid != 0)
      json["server"] = {{"cpu_us_per_request", 1e6 * (after_.cpu - before_.cpu) / count},
                        {"resident_mib_before", before_.resident / (1 << 20)},
                        {"resident_mib_after", after_.resident / (1 << 20)},
                        {"resident_mib_most", most_resident_ / (1 << 20)}};
    return json;
  }

  const Options& options_;
  asio::io_context context_{1};
  const std::vector<http::request<http::string_body>> requests_;
  std::vector<std::unique_ptr<Connection>> connections_;
  asio::steady_timer tick_, arrival_;
  Clock::time_point begin_, last_, counting_since_, next_arrival_;
  std::vector<Connection*> free_;
  std::deque<Clock::time_point> due_;  // requests that wait for a free connection
  std::size_t sent_ = 0, most_due_ = 0;
  std::int64_t counted_ = 0;
  std::map<std::string, std::int64_t> statuses_;
  std::vector<double> latencies_ms_;
  Usage before_, after_;
  double most_resident_ = 0;
  bool is_over_ = false, began_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Loads a server on this machine and measures it");
  app.add_option("--port", options.port, "Port on 127.0.0.1")->required();
  app.add_option("--target", options.target, "Address of the requests");
  app.add_option("--body", options.body_file, "File that is the body of every request");
  app.add_option("--header", options.headers, "NAME: VALUE, any number of times");
  app.add_option("--parameters", options.parameters, R"(Of the protocol, such as "stop":"last")");
  app.add_option("--side", options.side, "Width and height of the images")
      ->check(CLI::Range(1, 1024));
  app.add_option("--connections", options.connections, "At a time")->check(CLI::Range(1, 2000));
  app.add_option("--rate", options.rate, "Requests a second; 0: as fast as answers come")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--requests", options.requests, "At most")->check(CLI::Range(1, 2'000'000));
  app.add_option("--seconds", options.seconds, "At most")->check(CLI::Range(0.1, 1200.0));
  app.add_option("--warm-up", options.warm_up, "Seconds that are not counted")
      ->check(CLI::Range(0.0, 60.0));
  app.add_option("--pid", options.pid, "Process of the server, to measure its time and memory");
  CLI11_PARSE(app, argc, argv);
  try {
    std::cout << Load(options).run().dump(2) << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "load: " << error.what() << "\n";
    return 1;
  }
}
