// The HTTP server on sockets, with handlers of the tests. What a client must not be able to do:
// docs/serving.md, "Limits".
#include "serve/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#include "tests/serve/raw_client.h"

namespace offramp::serve {
namespace {

using std::chrono::milliseconds;
using test::RawClient;
using test::RawResponse;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::size_t kMebibyte = std::size_t{1} << 20;

class HttpServerTest : public testing::Test {
 protected:
  /// Answers every request with its method, its target and the size of its body.
  void start(const HttpOptions& options = {}) {
    start(options, [](const std::shared_ptr<Request>& request, const Reply& reply) {
      Response response;
      response.body = request->method + " " + request->target + " " +
                      std::to_string(request->body.text().size());
      reply(std::move(response));
    });
  }
  void start(HttpOptions options, Handler handler, Admit admit = {}) {
    options.port = 0;
    server_ = std::make_unique<HttpServer>(options, std::move(handler), std::move(admit));
    server_->start();
  }
  /// Takes requests and leaves them without an answer until the test gives one.
  void start_without_answers(const HttpOptions& options = {}) {
    start(options, [this](const std::shared_ptr<Request>& request, Reply reply) {
      const std::lock_guard lock(mutex_);
      waiting_.emplace_back(request, std::move(reply));
    });
  }

  std::uint16_t port() const { return server_->port(); }
  RawResponse ask(const std::string& request) {
    RawClient client(port());
    client.send(request);
    return client.receive();
  }
  /// Fails if another client is not served now.
  void expect_others_are_served() {
    EXPECT_EQ(ask("GET /other HTTP/1.1\r\nHost: x\r\n\r\n").body, "GET /other 0");
  }
  template <typename Condition>
  bool wait_until(const Condition& condition) {
    for (int i = 0; i < 6000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
  std::size_t num_waiting() {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }

  std::mutex mutex_;
  std::vector<std::pair<std::shared_ptr<Request>, Reply>> waiting_;
  std::unique_ptr<HttpServer> server_;
};

const std::string kPost = "POST /p HTTP/1.1\r\nHost: x\r\n";

TEST_F(HttpServerTest, AnswersManyRequestsOnOneConnection) {
  start();
  RawClient client(port());
  for (int i = 0; i < 3; ++i) {
    client.send(kPost + "Content-Length: 3\r\n\r\nabc");
    EXPECT_EQ(client.receive().body, "POST /p 3");
  }
  client.send("HEAD /p HTTP/1.1\r\nHost: x\r\n\r\nGET /q HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.receive(false).head, HasSubstr("Content-Length: 9"));
  EXPECT_THAT(client.receive().head, HasSubstr("Connection: close"));
  EXPECT_TRUE(client.is_closed());
}

TEST_F(HttpServerTest, TakesAMillionChunksOfOneByte) {
  start();
  RawClient client(port());
  client.send(kPost + "Transfer-Encoding: chunked\r\n\r\n");
  std::string chunks;
  for (int i = 0; i < 10000; ++i) chunks += "1\r\na\r\n";
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(client.send(chunks));
  expect_others_are_served();
  EXPECT_LE(server_->counts().memory_bytes, 2'500'000u);
  client.send("0\r\n\r\n");
  EXPECT_EQ(client.receive().body, "POST /p 1000000");
}

TEST_F(HttpServerTest, RefusesChunksWithoutEndAndGivesTheirMemoryBack) {
  start({.max_body_bytes = kMebibyte});
  RawClient client(port());
  client.send(kPost + "Transfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "4000\r\n" + std::string(0x4000, 'a') + "\r\n";
  for (int i = 0; i < 80 && client.send(chunk); ++i) {
  }
  const RawResponse response = client.receive();
  EXPECT_EQ(response.status, 413);
  EXPECT_THAT(response.body, HasSubstr("more than 1048576 bytes"));
  EXPECT_TRUE(wait_until([&] { return server_->counts().memory_bytes == 0; }));
  expect_others_are_served();
}

TEST_F(HttpServerTest, RefusesSizesOfChunksThatMakeNoSense) {
  start();
  std::vector<std::string> sizes{
      "ffffffffffffffff", "10000000000000000", "-1", "g", "", " 1", "0x1", "1 1"};
  sizes.push_back("1;" + std::string(100000, 'x'));
  for (const std::string& size : sizes) {
    RawClient client(port());
    client.send(kPost + "Transfer-Encoding: chunked\r\n\r\n" + size + "\r\na\r\n0\r\n\r\n");
    client.finish_sending();
    const int status = client.receive().status;
    EXPECT_TRUE(status == 400 || status == 413) << size.substr(0, 20) << ": " << status;
  }
  expect_others_are_served();
}

TEST_F(HttpServerTest, RefusesAMillionHeaders) {
  start();
  RawClient client(port());
  client.send("GET / HTTP/1.1\r\n");
  std::string headers;
  for (int i = 0; i < 1000; ++i) headers += "X-Name: value\r\n";
  for (int i = 0; i < 1000 && client.send(headers); ++i) {
  }
  client.send("\r\n");
  EXPECT_EQ(client.receive().status, 431);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nX: " + std::string(100000, 'x') + "\r\n\r\n").status, 431);
  EXPECT_EQ(ask("GET /" + std::string(100000, 'x') + " HTTP/1.1\r\n\r\n").status, 431);
  // Also after the body.
  RawClient trailers(port());
  trailers.send(kPost + "Transfer-Encoding: chunked\r\n\r\n0\r\n");
  for (int i = 0; i < 100 && trailers.send(headers); ++i) {
  }
  trailers.send("\r\n");
  const int status = trailers.receive().status;
  EXPECT_TRUE(status == 400 || status == 431) << status;
  expect_others_are_served();
}

TEST_F(HttpServerTest, RefusesLengthsThatContradictEachOther) {
  start({.max_body_bytes = 1000});
  EXPECT_EQ(ask(kPost + "Content-Length: 1001\r\n\r\n").status, 413);
  EXPECT_EQ(ask(kPost + "Content-Length: 18446744073709551615\r\n\r\n").status, 413);
  for (const char* lengths :
       {"Content-Length: -1\r\n", "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 1 1\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"}) {
    const int status = ask(kPost + lengths + "\r\nabc").status;
    EXPECT_TRUE(status == 400 || status == 413) << lengths << status;
  }
  expect_others_are_served();
}

TEST_F(HttpServerTest, RefusesWhatIsNotHttp) {
  start();
  for (const std::string& text :
       {std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), std::string("GET /\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n"),
        std::string("GET / HTTP/9.9\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 35),
        std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 tls", 16),
        std::string("G\xffT / HTTP/1.1\r\n\r\n")}) {
    const int status = ask(text).status;
    EXPECT_EQ(status, 400) << text;
  }
  expect_others_are_served();
}

TEST_F(HttpServerTest, GivesUpOnSlowClientsAndServesOthersMeanwhile) {
  start({.header_timeout = milliseconds(300), .body_timeout = milliseconds(300)});
  RawClient headers(port()), body(port());
  headers.send("GET / HTT");
  body.send(kPost + "Content-Length: 10\r\n\r\nabc");
  expect_others_are_served();
  EXPECT_EQ(headers.receive().status, 408);
  EXPECT_EQ(body.receive().status, 408);
}

TEST_F(HttpServerTest, AnswersAClientThatHasFinishedSending) {
  start_without_answers();
  RawClient client(port());
  client.send(kPost + "Content-Length: 3\r\n\r\nabc");
  client.finish_sending();
  ASSERT_TRUE(wait_until([&] { return num_waiting() == 1; }));
  // An interim response is how the server sees whether the client is still there.
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_FALSE(waiting_[0].first->cancellation.is_cancelled());
  waiting_[0].second({.body = "answer"});
  EXPECT_EQ(client.receive().body, "answer");
}

TEST_F(HttpServerTest, CancelsTheRequestOfAClientThatHasGone) {
  start_without_answers();
  RawClient client(port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_until([&] { return num_waiting() == 1; }));
  EXPECT_FALSE(waiting_[0].first->cancellation.is_cancelled());
  client.close();
  EXPECT_TRUE(wait_until([&] { return waiting_[0].first->cancellation.is_cancelled(); }));
  waiting_[0].second({.body = "too late"});
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  start({}, [](const std::shared_ptr<Request>& request, const Reply& reply) {
    std::thread([request, reply] { reply({.body = request->target}); }).detach();
  });
  RawClient client(port());
  std::string requests;
  for (int i = 0; i < 300; ++i)
    requests += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  client.send(requests);
  for (int i = 0; i < 300; ++i) ASSERT_EQ(client.receive().body, "/" + std::to_string(i));
}

TEST_F(HttpServerTest, AsksForABodyThatTheClientHoldsBack) {
  start({.max_body_bytes = 1000});
  RawClient client(port());
  client.send(kPost + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  std::this_thread::sleep_for(milliseconds(50));
  client.send("abc");
  EXPECT_EQ(client.receive().body, "POST /p 3");
  EXPECT_EQ(client.interim_responses, 1);
  RawClient large(port());
  large.send(kPost + "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(large.receive().status, 413);
  EXPECT_EQ(large.interim_responses, 0);
}

TEST_F(HttpServerTest, BoundsTheMemoryOfAllBodiesAndGivesUpTheSlowest) {
  start({.max_body_bytes = 4 * kMebibyte, .memory_bytes = 4 * kMebibyte});
  RawClient slow(port());
  const std::string part(3 * kMebibyte - 1, 'a');
  slow.send(kPost + "Content-Length: 4000000\r\n\r\n" + part);
  ASSERT_TRUE(wait_until([&] { return server_->counts().memory_bytes > 3 * kMebibyte; }));
  const std::string large = kPost + "Content-Length: 2000000\r\n\r\n" + std::string(2'000'000, 'b');
  const RawResponse refused = ask(large);
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.head, HasSubstr("Retry-After"));
  expect_others_are_served();
  // The slow one is given up as soon as it has been sending for two seconds.
  EXPECT_TRUE(wait_until([&] { return ask(large).body == "POST /p 2000000"; }));
  EXPECT_TRUE(slow.is_closed());
  EXPECT_TRUE(wait_until([&] { return server_->counts().memory_bytes == 0; }));
}

TEST_F(HttpServerTest, ClosesIdleConnectionsForNewOnes) {
  start_without_answers({.max_connections = 2});
  RawClient idle(port()), busy(port());
  busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_until([&] { return num_waiting() == 1; }));
  RawClient third(port());
  third.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_until([&] { return num_waiting() == 2; }));
  EXPECT_TRUE(idle.is_closed());
  RawClient fourth(port());
  const RawResponse refused = fourth.receive();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.head, HasSubstr("Retry-After"));
  for (auto& [request, reply] : waiting_) reply({.body = "answer"});
  EXPECT_EQ(busy.receive().body, "answer");
  EXPECT_EQ(third.receive().body, "answer");
}

TEST_F(HttpServerTest, GivesUpAClientThatDoesNotReadItsAnswer) {
  start({.memory_bytes = 64 * kMebibyte, .write_timeout = milliseconds(300)},
        [](const std::shared_ptr<Request>&, const Reply& reply) {
          reply({.body = std::string(32 * kMebibyte, 'a')});
        });
  RawClient client(port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(wait_until([&] { return server_->counts().memory_bytes > 0; }));
  EXPECT_TRUE(wait_until([&] { return server_->counts().connections == 0; }));
  EXPECT_EQ(server_->counts().memory_bytes, 0u);
}

TEST_F(HttpServerTest, RefusesBeforeItReadsABody) {
  start(
      {}, [](const auto&, const Reply& reply) { reply({.body = "admitted"}); },
      [](Request& request) -> std::optional<Response> {
        if (request.target == "/p") return error_response(401, "no token");
        return std::nullopt;
      });
  RawClient client(port());
  // The body never comes, and none is asked for.
  client.send(kPost + "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n");
  const RawResponse refused = client.receive();
  EXPECT_EQ(refused.status, 401);
  EXPECT_THAT(refused.head, HasSubstr("Connection: close"));
  EXPECT_EQ(client.interim_responses, 0);
  RawClient sends(port());
  sends.send(kPost + "Content-Length: 1000000\r\n\r\n" + std::string(500'000, 'a'));
  EXPECT_EQ(sends.receive().status, 401);
  EXPECT_EQ(server_->counts().memory_bytes, 0u);
  // Without a body the connection goes on.
  RawClient other(port());
  other.send("GET /p HTTP/1.1\r\nHost: x\r\n\r\nHEAD /p HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(other.receive().status, 401);
  EXPECT_EQ(other.receive(false).status, 401);
  other.send("GET /q HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(other.receive().body, "admitted");
}

TEST_F(HttpServerTest, GoesOnAfterARefusalWhoseBodyIsShort) {
  start(
      {},
      [](const std::shared_ptr<Request>& request, const Reply& reply) {
        reply({.body = request->target});
      },
      [](Request& request) -> std::optional<Response> {
        if (request.target == "/p") return error_response(503, "busy");
        return std::nullopt;
      });
  const std::string next = "GET /next HTTP/1.1\r\nHost: x\r\n\r\n";
  for (const std::string& whole :
       {kPost + "Content-Length: 4\r\n\r\nGET ",
        kPost + "Content-Length: 50000\r\n\r\n" + std::string(50000, 'a'),
        kPost + "Content-Length: 65536\r\n\r\n" + std::string(65536, 'a')}) {
    RawClient pipelines(port());
    pipelines.send(whole + next);
    const RawResponse refused = pipelines.receive();
    EXPECT_EQ(refused.status, 503);
    EXPECT_THAT(refused.head, AllOf(HasSubstr("Retry-After"), testing::Not(HasSubstr("close"))));
    EXPECT_EQ(pipelines.receive().body, "/next");
    // The answer comes before the body.
    RawClient waits(port());
    const std::size_t half = whole.size() - 3;
    waits.send(whole.substr(0, half));
    EXPECT_EQ(waits.receive().status, 503);
    waits.send(whole.substr(half) + next);
    EXPECT_EQ(waits.receive().body, "/next");
  }
  EXPECT_EQ(server_->counts().memory_bytes, 0u);
}

TEST_F(HttpServerTest, EndsAConnectionWhoseRefusedBodyIsLongOrInvalid) {
  start(
      {}, [](const auto&, const Reply& reply) { reply({}); },
      [](Request&) -> std::optional<Response> { return error_response(503, "busy"); });
  const std::string chunked = kPost + "Transfer-Encoding: chunked\r\n\r\n";
  const std::string next = "GET /next HTTP/1.1\r\nHost: x\r\n\r\n";
  for (const std::string& whole :
       {kPost + "Content-Length: 65537\r\n\r\n" + std::string(65537, 'a'),
        kPost + "Content-Length: 68000\r\n\r\n" + std::string(68000, 'a'),
        chunked + "11170\r\n" + std::string(70000, 'a') + "\r\n0\r\n\r\n",
        chunked + "3\r\nabc\r\nnot a size\r\n"}) {
    RawClient client(port());
    client.send(whole + next);
    const RawResponse refused = client.receive();
    EXPECT_EQ(refused.status, 503);
    EXPECT_THAT(refused.head, HasSubstr("Connection: close"));
    EXPECT_TRUE(client.is_closed());
  }
}

TEST_F(HttpServerTest, SendsAnAnswerOfAnySizeFromAnyThreadOnce) {
  start({}, [](const std::shared_ptr<Request>& request, const Reply& reply) {
    const auto size = static_cast<std::size_t>(std::stoul(request->target.substr(1)));
    std::thread([=] {
      reply({.body = std::string(size, 'a')});
      reply({.body = "again"});
    }).detach();
  });
  RawClient client(port());
  std::string requests;
  // Together they are more than a socket takes while the client does not read.
  for (int i = 0; i < 1000; ++i)
    requests += "GET /" + std::to_string(i % 3 * 8192) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  client.send(requests);
  std::this_thread::sleep_for(milliseconds(100));
  for (std::size_t i = 0; i < 1000; ++i) {
    const RawResponse response = client.receive();
    ASSERT_EQ(response.status, 200);
    ASSERT_EQ(response.body, std::string(i % 3 * 8192, 'a')) << i;
  }
}

TEST_F(HttpServerTest, ClosesAConnectionThatHasBeenIdleForTooLong) {
  start({.idle_timeout = milliseconds(100)});
  RawClient never_used(port()), used(port());
  used.send("GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(used.receive().body, "GET /other 0");
  EXPECT_TRUE(used.is_closed());
  EXPECT_TRUE(never_used.is_closed());
  EXPECT_TRUE(wait_until([&] { return server_->counts().connections == 0; }));
}

TEST_F(HttpServerTest, IgnoresEmptyLinesBeforeARequest) {
  start();
  RawClient client(port());
  const std::string request = kPost + "Content-Length: 3\r\n\r\nabc\r\n";
  client.send("\r\n\r");
  std::this_thread::sleep_for(milliseconds(50));
  client.send("\n");
  for (int i = 0; i < 2; ++i) {
    client.send(request + request);
    EXPECT_EQ(client.receive().body, "POST /p 3");
    EXPECT_EQ(client.receive().body, "POST /p 3");
  }
}

TEST_F(HttpServerTest, RequiresOneValidHost) {
  start();
  EXPECT_EQ(ask("GET / HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n").status, 400);
  EXPECT_EQ(ask("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").status, 400);
  EXPECT_EQ(ask("GET / HTTP/1.0\r\n\r\n").status, 200);
}

TEST_F(HttpServerTest, TakesTargetsInAbsoluteForm) {
  start({}, [](const std::shared_ptr<Request>& request, const Reply& reply) {
    reply({.body = *request->header("host") + " " + request->target});
  });
  EXPECT_EQ(ask("GET http://a:1/v2?x=1 HTTP/1.1\r\nHost: b\r\n\r\n").body, "a:1 /v2?x=1");
  EXPECT_EQ(ask("GET HTTPS://a HTTP/1.1\r\nHost: b\r\n\r\n").body, "a /");
  EXPECT_EQ(ask("GET http:///v2 HTTP/1.1\r\nHost: b\r\n\r\n").status, 400);
  EXPECT_EQ(ask("GET http://a@b/v2 HTTP/1.1\r\nHost: b\r\n\r\n").status, 400);
}

TEST_F(HttpServerTest, RefusesCodingsAndExpectationsThatItDoesNotKnow) {
  start();
  for (const char* coding : {"gzip, chunked", "gzip", "chunked, identity"}) {
    const RawResponse response = ask(kPost + "Transfer-Encoding: " + coding + "\r\n\r\n0\r\n\r\n");
    EXPECT_THAT(response.status, testing::AnyOf(400, 501)) << coding;
    EXPECT_THAT(response.head, HasSubstr("Connection: close")) << coding;
  }
  EXPECT_EQ(ask(kPost + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n").status, 501);
  EXPECT_EQ(ask(kPost + "Expect: something\r\nContent-Length: 1\r\n\r\n").status, 417);
  EXPECT_EQ(ask(kPost + "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").body, "POST /p 1");
}

TEST_F(HttpServerTest, SendsADateAndNoLengthWithA304) {
  start({}, [](const auto&, const Reply& reply) { reply({.status = 304}); });
  const std::string head = ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").head;
  EXPECT_THAT(head, HasSubstr(" GMT\r\n"));
  EXPECT_THAT(head, testing::Not(HasSubstr("Content-")));
}

TEST_F(HttpServerTest, SurvivesAnExceptionOfItsHandler) {
  std::atomic<int> faults = 0;
  start(
      {.on_fault = [&](const std::string&) { ++faults; }},
      [](const std::shared_ptr<Request>& request, const Reply& reply) {
        if (request->target == "/bad") throw std::bad_alloc();
        reply({.body = "GET /other 0"});
      },
      [](Request& request) -> std::optional<Response> {
        if (request.target == "/worse") throw std::bad_alloc();
        return std::nullopt;
      });
  EXPECT_EQ(ask("GET /bad HTTP/1.1\r\nHost: x\r\n\r\n").status, 500);
  EXPECT_EQ(ask("GET /worse HTTP/1.1\r\nHost: x\r\n\r\n").status, 0);
  EXPECT_EQ(faults, 2);
  expect_others_are_served();
  EXPECT_TRUE(server_->drain(milliseconds(60'000)));
}

TEST_F(HttpServerTest, AnswersWhatIsUnderWayWhenItIsDrained) {
  start_without_answers();
  RawClient idle(port()), busy(port());
  busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_until([&] { return num_waiting() == 1; }));
  auto drained =
      std::async(std::launch::async, [&] { return server_->drain(milliseconds(60'000)); });
  EXPECT_TRUE(idle.is_closed());
  EXPECT_THROW(RawClient{port()}, std::runtime_error);
  waiting_[0].second({.body = "answer"});
  EXPECT_THAT(busy.receive(), AllOf(testing::Field(&RawResponse::body, "answer"),
                                    testing::Field(&RawResponse::head, HasSubstr("close"))));
  EXPECT_TRUE(drained.get());
}

TEST_F(HttpServerTest, DoesNotWaitForClientsThatStallWhenItIsDrained) {
  start({.body_timeout = milliseconds(600'000), .write_timeout = milliseconds(600'000)},
        [](const std::shared_ptr<Request>&, const Reply& reply) {
          reply({.body = std::string(32 * kMebibyte, 'a')});
        });
  RawClient sends(port()), reads_nothing(port());
  sends.send(kPost + "Content-Length: 2000\r\n\r\n" + std::string(1000, 'a'));
  reads_nothing.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_until([&] { return server_->counts().memory_bytes > 32 * kMebibyte; }));
  // Both are given up after two seconds, and no request is without an answer.
  auto drained =
      std::async(std::launch::async, [&] { return server_->drain(milliseconds(600'000)); });
  ASSERT_EQ(drained.wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_TRUE(drained.get());
}

TEST_F(HttpServerTest, GivesUpClientsThatReadNothingForNewOnes) {
  start({.max_connections = 3, .write_timeout = milliseconds(600'000)},
        [](const std::shared_ptr<Request>& request, const Reply& reply) {
          reply({.body = request->target == "/small" ? "small" : std::string(kMebibyte, 'a')});
        });
  std::string requests;
  for (int i = 0; i < 100; ++i) requests += "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  RawClient first(port()), second(port()), third(port());
  for (RawClient* const client : {&first, &second, &third}) client->send(requests);
  ASSERT_TRUE(wait_until([&] { return server_->counts().memory_bytes > 0; }));
  EXPECT_TRUE(
      wait_until([&] { return ask("GET /small HTTP/1.1\r\nHost: x\r\n\r\n").body == "small"; }));
}

TEST_F(HttpServerTest, CancelsWhatIsStillUnderWayAtTheEndOfDraining) {
  start_without_answers();
  RawClient client(port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(wait_until([&] { return num_waiting() == 1; }));
  EXPECT_FALSE(server_->drain(milliseconds(50)));
  EXPECT_TRUE(waiting_[0].first->cancellation.is_cancelled());
  EXPECT_TRUE(client.is_closed());
}

TEST_F(HttpServerTest, OwesNoAnswerToAClientThatHasGoneWhenItIsDrained) {
  start_without_answers();
  {
    RawClient client(port());
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(wait_until([&] { return num_waiting() == 1; }));
  }
  ASSERT_TRUE(wait_until([&] { return server_->counts().connections == 0; }));
  EXPECT_EQ(server_->counts().requests_under_way, 1);
  EXPECT_TRUE(server_->drain(milliseconds(60'000)));
}

TEST_F(HttpServerTest, SaysWhyItCannotListen) {
  start();
  EXPECT_THAT([&] { HttpServer({.port = port()}, {}); },
              testing::ThrowsMessage<Error>(HasSubstr("cannot listen: Address already in use")));
  EXPECT_THROW(HttpServer({.address = "elsewhere"}, {}), UsageError);
  EXPECT_NO_THROW(HttpServer({.address = "localhost", .port = 0}, {}));
}

}  // namespace
}  // namespace offramp::serve
