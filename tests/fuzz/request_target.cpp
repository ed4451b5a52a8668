#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <string_view>

#include "serve/http_server.h"
#include "serve/json_text.h"
#include "serve/service.h"

// Any bytes are read as an HTTP request by the server's parser, without a socket, and answered by
// its routes with a small model. Every request gets one response; an error is JSON with a text of
// one line that names no path, and none is the server's own. Afterwards no memory is counted.

namespace {

using namespace offramp;
using namespace offramp::serve;

[[noreturn]] void fail(const char* what, const Response& response) {
  std::fprintf(stderr, "%s: %d %s\n", what, response.status, response.body.c_str());
  std::abort();
}

void check(const Response& response) {
  if (response.status == 0 || response.status < 400) return;
  if (response.status == 500 &&
      response.body.find("the network could not be run") == std::string::npos)
    fail("a fault of the server", response);
  const Json json = Json::parse(response.body, nullptr, false);
  if (json.is_discarded() || !json.contains("error")) {
    if (response.status != 503 || json.is_discarded()) fail("an error without a text", response);
    return;
  }
  const std::string text = json["error"];
  if (text.empty() || text.find('\n') != text.npos) fail("not one line", response);
  if (text.find(OFFRAMP_FUZZ_MODEL) != text.npos) fail("a path", response);
}

struct Server {
  Server() : service(models, {}) { service.set_ready(true); }
  ServedModels models{{{.name = "m", .path = OFFRAMP_FUZZ_MODEL}},
                      {.precision = "f32", .threads = 1, .batch = 2},
                      {.max_queue = 16, .max_pixels = 1 << 18},
                      [](const std::string&, const std::string&) {}};
  Service service;
  const std::shared_ptr<Budget> budget = std::make_shared<Budget>(std::size_t{64} << 20);
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Server* const server = new Server;  // never destroyed: its threads run until the end
  HttpOptions options;
  options.max_body_bytes = std::size_t{1} << 20;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  {
    auto read = read_request(bytes, options, server->budget);
    if (const Response* const refusal = std::get_if<Response>(&read)) {
      check(*refusal);
    } else {
      auto request = std::get<std::shared_ptr<Request>>(read);
      if (const auto not_admitted = server->service.admit(*request)) {
        check(*not_admitted);
      } else {
        std::promise<Response> promise;
        server->service.handle(request,
                               [&](Response response) { promise.set_value(std::move(response)); });
        check(promise.get_future().get());
      }
    }
  }
  return 0;
}
