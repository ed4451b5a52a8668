// run_server() inside this process.
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/file.h"
#include "model/model_file.h"
#include "serve/server.h"
#include "tests/api/example_model.h"
#include "tests/serve/raw_client.h"
#include "tests/support/graphs.h"

namespace offramp::serve {
namespace {

TEST(RunServer, EndsInOrderAfterAnException) {
  const core::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "m.safetensors";
  model::save_model(path, test::example_model(small_resnet()));
  for (int round = 0; round < 5; ++round) {
    ServerSettings settings;
    settings.models = {{.name = "m", .path = path}};
    settings.model = {.precision = "f32", .threads = 2};
    settings.http.port = 0;
    settings.http.address = "localhost";
    std::atomic<bool> ended = false;
    std::atomic<int> answered = 0;
    std::vector<std::thread> clients;
    // The server's own thread throws while others ask for the models.
    EXPECT_THROW(run_server(settings,
                            [&](const std::string& address, const ServedModels&) {
                              const auto port = static_cast<std::uint16_t>(
                                  std::stoi(address.substr(address.rfind(':') + 1)));
                              for (int i = 0; i < 4; ++i)
                                clients.emplace_back([&, port] {
                                  while (!ended) {
                                    try {
                                      test::RawClient client(port);
                                      client.send(
                                          "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
                                          "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
                                      answered += client.receive().status == 200;
                                      client.receive();
                                    } catch (const std::runtime_error&) {
                                      return;  // nobody listens any more
                                    }
                                  }
                                });
                              while (answered < 8) std::this_thread::yield();
                              throw std::runtime_error("an exception");
                            }),
                 std::runtime_error);
    ended = true;
    for (std::thread& client : clients) client.join();
  }
}

}  // namespace
}  // namespace offramp::serve
