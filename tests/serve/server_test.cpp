// The program: `offramp serve` from its start to its end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/file.h"
#include "tests/api/example_model.h"
#include "tests/cli/program.h"
#include "tests/serve/raw_client.h"
#include "tests/support/graphs.h"

namespace offramp {
namespace {

using test::example_model;
using test::RawClient;
using test::RawResponse;
using testing::AllOf;
using testing::HasSubstr;

const std::string kShipped = OFFRAMP_SOURCE "/models/cifar10-3-exits.safetensors";

/// A server of its own process, on a free port.
class RunningServer {
 public:
  RunningServer(const std::filesystem::path& folder, std::vector<std::string> arguments)
      : out_(folder / "out"), err_(folder / "err") {
    arguments.insert(arguments.begin(), {OFFRAMP_PROGRAM, "serve", "--port", "0"});
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      if (std::freopen(out_.c_str(), "w", stdout) == nullptr ||
          std::freopen(err_.c_str(), "w", stderr) == nullptr)
        _exit(127);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~RunningServer() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
  }
  RunningServer(const RunningServer&) = delete;
  RunningServer& operator=(const RunningServer&) = delete;

  std::string out() const { return core::read_text(out_); }
  std::string log() const { return core::read_text(err_); }
  void signal(int number) const { kill(child_, number); }
  int end() {
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  template <typename Condition>
  static bool wait_until(const Condition& condition) {
    for (int i = 0; i < 6000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  /// Waits for the address that the server prints.
  std::uint16_t port() const {
    const std::string before = "http://127.0.0.1:";
    EXPECT_TRUE(wait_until([&] {
      return std::filesystem::exists(out_) && out().find("try it") != std::string::npos;
    })) << log();
    const std::string text = out();
    const std::size_t at = text.find(before);
    return at == std::string::npos
               ? std::uint16_t{0}
               : static_cast<std::uint16_t>(std::stoi(text.substr(at + before.size())));
  }
  RawResponse ask(const std::string& method, const std::string& target,
                  const std::string& body = {}, const std::string& headers = {}) const {
    RawClient client(port());
    client.send(method + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " +
                std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body);
    return client.receive();
  }

 private:
  std::filesystem::path out_, err_;
  pid_t child_ = 0;
};

TEST(Server, NeedsNothingButAModel) {
  const core::TemporaryFolder folder;
  RunningServer server(folder.path(), {kShipped});
  EXPECT_THAT(server.ask("GET", "/").head, HasSubstr("text/html"));
  const RawResponse image = server.ask("GET", "/example.png");
  const RawResponse answer = server.ask("POST", "/v1/classify", image.body);
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_THAT(answer.body, HasSubstr("\"class\":"));
  EXPECT_THAT(server.out(), HasSubstr("curl"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.end(), 0) << server.log();
  EXPECT_THAT(server.log(), HasSubstr("\"message\":\"stopped\""));
}

TEST(Server, LoadsAFileAgainWhenItChangesAndKeepsTheOldModelIfItIsBad) {
  const core::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "m.safetensors";
  const auto write = [&](const std::string& name) {
    model::ModelFile file = example_model(small_resnet());
    file.classes[0] = name;
    model::save_model(path, file);
  };
  const auto serves = [](const RunningServer& server, const std::string& name) {
    return server.ask("GET", "/v1/models").body.find(name) != std::string::npos;
  };
  write("before");
  RunningServer server(folder.path(), {path.string()});
  EXPECT_TRUE(serves(server, "before"));
  write("after");
  EXPECT_TRUE(RunningServer::wait_until([&] { return serves(server, "after"); }));
  core::write_text_atomic(path, "not a model");
  server.signal(SIGHUP);
  EXPECT_TRUE(RunningServer::wait_until(
      [&] { return server.log().find("the new file was refused") != std::string::npos; }));
  EXPECT_TRUE(serves(server, "after"));
  write("again");
  server.signal(SIGHUP);
  EXPECT_TRUE(RunningServer::wait_until([&] { return serves(server, "again"); }));
}

TEST(Server, AsksForTheTokenOfAFile) {
  const core::TemporaryFolder folder;
  core::write_text_atomic(folder.path() / "token", "0123456789abcdef\n");
  RunningServer server(folder.path(),
                       {kShipped, "--token-file", (folder.path() / "token").string()});
  const RawResponse refused = server.ask("GET", "/v2");
  EXPECT_EQ(refused.status, 401);
  EXPECT_THAT(refused.head, HasSubstr("WWW-Authenticate: Bearer"));
  EXPECT_EQ(server.ask("GET", "/v2", "", "Authorization: Bearer 0123456789abcdef\r\n").status, 200);
  EXPECT_EQ(server.ask("GET", "/v2/health/ready").status, 200);
}

TEST(Server, SaysWhyItCannotStart) {
  const test::ProgramResult missing = test::offramp({"serve", "/nowhere/m.safetensors"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_TRUE(test::is_one_line(missing.err)) << missing.err;
  EXPECT_EQ(test::offramp({"serve"}).status, 2);
  EXPECT_EQ(test::offramp({"serve", kShipped, "--address", "elsewhere"}).status, 2);
  const test::ProgramResult port = test::offramp({"serve", kShipped, "--port", "80000"});
  EXPECT_EQ(port.status, 2);
  EXPECT_THAT(port.err, AllOf(HasSubstr("0"), HasSubstr("65535")));
  const test::ProgramResult limits =
      test::offramp({"serve", kShipped, "--max-wait-ms", "5", "--max-queue-delay-ms", "1"});
  EXPECT_EQ(limits.status, 2);
  EXPECT_THAT(limits.err, HasSubstr("exclude each other"));
  EXPECT_EQ(test::offramp({"serve", "a/b=" + kShipped}).status, 2);
  EXPECT_EQ(test::offramp({"serve", kShipped, kShipped}).status, 2);
}

}  // namespace
}  // namespace offramp
