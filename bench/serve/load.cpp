// Asks a server on this machine as often as it answers, or at a given rate, and prints one JSON
// object: requests by status, latencies and accuracy of the accepted ones, processor time and
// memory of the server. It ends after a number of requests or seconds, whichever comes first.
//
//   load --port 8000                   32 connections, each asks again when it has its answer
//   load --port 8000 --rate 500        500 requests a second, whatever the server does
//   load --port 8000 --pid PID --requests 1000000 --seconds 600
//
// It sends one-image requests of the Open Inference Protocol, pixels as binary data, or the same
// images as an array of floats (--floats). The images are random, or test images of --data; answers
// are then compared with their labels.
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
#include <cstdlib>
#include <cstring>
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
#include "data/dataset.h"

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
  std::string data, parameters;
  std::vector<std::string> headers;
  bool floats = false;
  int connections = 32, images = 1000, side = 32;
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

/// A request and the class of its image; -1: not known.
struct Question {
  http::request<http::string_body> request;
  std::int64_t label = -1;
};

/// The pixels [side, side, 3] of the images and their labels.
struct Images {
  int height = 0, width = 0;
  std::vector<std::string> pixels = {};
  std::vector<std::int64_t> labels = {};
};

Images read_images(const Options& options) {
  using offramp::data::Part;
  const auto loaded = offramp::data::load_data(options.data, Part::test, {});
  const offramp::data::Dataset& set = loaded.dataset;
  Images images{.height = set.height, .width = set.width};
  const std::int64_t count = std::min<std::int64_t>(options.images, set.size());
  for (std::int64_t i = 0; i < count; ++i) {  // classes lie one after the other
    const std::int64_t index = i * set.size() / count;
    const auto pixels = set.image(index);
    images.pixels.emplace_back(pixels.begin(), pixels.end());
    images.labels.push_back(set.labels[static_cast<std::size_t>(index)]);
  }
  // One order for all runs: neighbours shall not be of one class.
  offramp::core::KeyedRandom random(1, 3);
  for (std::size_t i = images.pixels.size(); i > 1; --i) {
    const auto other = static_cast<std::size_t>(random.below(i));
    std::swap(images.pixels[i - 1], images.pixels[other]);
    std::swap(images.labels[i - 1], images.labels[other]);
  }
  return images;
}

Images random_images(const Options& options) {
  Images images{.height = options.side, .width = options.side};
  offramp::core::KeyedRandom random(1, 2);
  for (int i = 0; i < 64; ++i) {
    std::string pixels(3 * static_cast<std::size_t>(options.side * options.side), '\0');
    // Noise around one colour: noise alone would be unlike any image.
    const auto base = static_cast<int>(random.below(200));
    for (char& value : pixels) value = static_cast<char>(base + static_cast<int>(random.below(56)));
    images.pixels.push_back(std::move(pixels));
    images.labels.push_back(-1);
  }
  return images;
}

/// Returns the image as f32 [3, height, width], pixels in [0, 1].
std::string as_floats(const std::string& pixels) {
  const std::size_t area = pixels.size() / 3;
  std::vector<float> values(pixels.size());
  for (std::size_t i = 0; i < pixels.size(); ++i)
    values[i % 3 * area + i / 3] = static_cast<float>(static_cast<unsigned char>(pixels[i])) / 255;
  std::string bytes(sizeof(float) * values.size(), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<Question> make_questions(const Options& options) {
  const Images images = options.data.empty() ? random_images(options) : read_images(options);
  std::vector<Question> questions;
  for (std::size_t i = 0; i < images.pixels.size(); ++i) {
    const std::string& pixels = images.pixels[i];
    http::request<http::string_body> request(http::verb::post, options.target, 11);
    request.set(http::field::host, "127.0.0.1");
    if (options.floats) {
      request.body() = as_floats(pixels);
    } else {
      const std::string json = fmt::format(
          R"({{"parameters":{{{}}},"inputs":[{{"name":"image","datatype":"UINT8",)"
          R"("shape":[1,{},{},3],"parameters":{{"binary_data_size":{}}}}}],)"
          R"("outputs":[{{"name":"class_index","parameters":{{"binary_data":true}}}}]}})",
          options.parameters, images.height, images.width, pixels.size());
      request.set("Inference-Header-Content-Length", std::to_string(json.size()));
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
    questions.push_back({std::move(request), images.labels[i]});
  }
  return questions;
}

/// Returns the class of an answer: its last 8 bytes, or "class_index" of JSON; -1 if it has none.
std::int64_t class_of(const http::response<http::string_body>& response) {
  const std::string& body = response.body();
  const auto type = response[http::field::content_type];
  std::int64_t index = -1;
  if (type == "application/octet-stream" && body.size() >= sizeof index) {
    std::memcpy(&index, body.data() + body.size() - sizeof index, sizeof index);
    return index;
  }
  static constexpr std::string_view kKey = "\"class_index\":";
  const std::size_t at = body.find(kKey);
  return at == std::string::npos ? -1 : std::atoll(body.c_str() + at + kKey.size());
}

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options),
        questions_(make_questions(options)),
        tick_(context_),
        arrival_(context_) {}

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
      const Question& question = load_.questions_[load_.sent_++ % load_.questions_.size()];
      label_ = question.label;
      http::async_write(stream_, question.request, [this](error_code error, std::size_t) {
        if (error) return fail("write");
        response_ = {};
        http::async_read(stream_, buffer_, response_, [this](error_code failed, std::size_t) {
          if (failed) return fail("read");
          const bool keep = response_.keep_alive();
          if (!keep) close();
          const bool accepted = response_.result_int() == 200;
          load_.count(std::to_string(response_.result_int()), due_, accepted,
                      accepted && label_ >= 0 && class_of(response_) == label_);
          load_.is_free(*this);
        });
      });
    }
    void fail(const char* what) {
      close();
      buffer_.clear();
      load_.count(what, due_, false, false);
      load_.is_free(*this);
    }

    Load& load_;
    boost::beast::tcp_stream stream_;
    boost::beast::flat_buffer buffer_;
    http::response<http::string_body> response_;
    Clock::time_point due_;
    std::int64_t label_ = -1;
    bool is_open_ = false;
  };

  void count(const std::string& status, Clock::time_point due, bool accepted, bool correct) {
    const auto now = Clock::now();
    if (is_over_ || seconds_between(begin_, now) < options_.warm_up) return;
    ++statuses_[status];
    if (accepted) latencies_ms_.push_back(1e3 * seconds_between(due, now));
    correct_ += correct ? 1 : 0;
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
              {"accuracy", options_.data.empty() || latencies_ms_.empty()
                               ? Json(nullptr)
                               : Json(static_cast<double>(correct_) /
                                      static_cast<double>(latencies_ms_.size()))},
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
  const std::vector<Question> questions_;
  std::vector<std::unique_ptr<Connection>> connections_;
  asio::steady_timer tick_, arrival_;
  Clock::time_point begin_, last_, counting_since_, next_arrival_;
  std::vector<Connection*> free_;
  std::deque<Clock::time_point> due_;  // requests that wait for a free connection
  std::size_t sent_ = 0, most_due_ = 0;
  std::int64_t counted_ = 0, correct_ = 0;
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
  app.add_option("--data", options.data, "Test images of this source; default: random images");
  app.add_option("--images", options.images, "How many of --data, spread evenly")
      ->check(CLI::Range(1, 100'000));
  app.add_flag("--floats", options.floats, "Send each image as f32 [3,H,W], without any JSON");
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
