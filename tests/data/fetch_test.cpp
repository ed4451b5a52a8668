#include "data/fetch.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "data/partial_download.h"
#include "tests/support/full_disk.h"

namespace offramp::data {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

struct Reply {
  std::string head;  // status line and headers, without the empty line
  std::string body;
  bool stall = false;  // send nothing more until the client closes the connection
};

/// An HTTP/1.1 server on the loopback interface. It sends the given reply to each request and then
/// closes the connection.
class Server {
 public:
  using Answer = std::function<Reply(int request, std::optional<std::size_t> range)>;

  explicit Server(Answer answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 8) != 0 ||
        ::getsockname(listener_, generic, &size) != 0) {
      throw std::runtime_error("no loopback");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}/file.bin", port_); }
  // The first byte of the range of each request; nullopt for a request without a range.
  std::vector<std::optional<std::size_t>> ranges() const {
    const std::lock_guard lock(mutex_);
    return ranges_;
  }

 private:
  void serve() {
    while (!stopping_) {
      const int client = ::accept(listener_, nullptr, nullptr);
      if (client < 0) continue;
      std::string request;
      char buffer[4096];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t got = ::recv(client, buffer, sizeof(buffer), 0);
        if (got <= 0) break;
        request.append(buffer, static_cast<std::size_t>(got));
        constexpr char kTlsHandshake = 0x16;  // this server does not support TLS
        if (request[0] == kTlsHandshake) break;
      }
      std::optional<std::size_t> range;
      if (const auto at = request.find("Range: bytes="); at != std::string::npos) {
        range = std::stoul(request.substr(at + 13));
      }
      int number = 0;
      {
        const std::lock_guard lock(mutex_);
        number = static_cast<int>(ranges_.size());
        ranges_.push_back(range);
      }
      const Reply reply = answer_(number, range);
      const std::string text =
          reply.head.empty() ? "" : reply.head + "\r\nConnection: close\r\n\r\n" + reply.body;
      for (std::size_t sent = 0; sent < text.size();) {
        const ssize_t now = ::send(client, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (now <= 0) break;
        sent += static_cast<std::size_t>(now);
      }
      while (reply.stall && !stopping_) {
        pollfd waiting{client, POLLIN, 0};
        if (::poll(&waiting, 1, 50) > 0) break;
      }
      ::close(client);
    }
  }

  Answer answer_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;
  std::vector<std::optional<std::size_t>> ranges_;
  std::thread thread_;
};

Reply whole(const std::string& content, std::size_t sent = std::string::npos) {
  return {fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}", content.size()),
          content.substr(0, sent)};
}

// The reply of a server that supports ranges; it closes the connection after `sent` bytes.
Reply resuming(const std::string& content, std::optional<std::size_t> range,
               std::size_t sent = std::string::npos) {
  if (!range) return whole(content, sent);
  if (*range >= content.size()) {
    return {fmt::format("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{}\r\n"
                        "Content-Length: 9",
                        content.size()),
            "no range\n"};
  }
  return {fmt::format("HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n"
                      "Content-Range: bytes {}-{}/{}",
                      content.size() - *range, *range, content.size() - 1, content.size()),
          content.substr(*range, sent)};
}

class Fetch : public testing::Test {
 protected:
  Fetch() {
    for (int i = 0; i < 100000; ++i) content_ += static_cast<char>('a' + (i % 23) * (i % 23) % 23);
    options_.pause_ms = 1;
  }

  // Returns the download of content_ from a server.
  Download from(const Server& server) const {
    detail::Md5 md5;
    md5.add(std::as_bytes(std::span(content_)));
    return {server.url(), md5.hex(), "file.bin"};
  }
  fs::path target() const { return folder_.path() / "file.bin"; }
  fs::path part() const { return folder_.path() / "file.bin.part"; }
  fs::path get(const Download& download) {
    return fetch(
        download, folder_.path(), [this](const FetchProgress& p) { last_ = p; }, options_);
  }
  std::string message(const Download& download) {
    try {
      get(download);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing thrown";
  }
  void expect_fetched() {
    EXPECT_EQ(core::read_text(target()), content_);
    EXPECT_FALSE(fs::exists(part()));
  }

  core::TemporaryFolder folder_;
  std::string content_;
  FetchOptions options_;
  FetchProgress last_;
};

TEST(Md5, HasTheDigestsOfItsDefinition) {
  // RFC 1321, appendix A.5.
  detail::Md5 md5;
  EXPECT_EQ(md5.hex(), "d41d8cd98f00b204e9800998ecf8427e");
  const std::string a = "message ", b = "digest";
  md5.add(std::as_bytes(std::span(a)));
  md5.add(std::as_bytes(std::span(b)));
  EXPECT_EQ(md5.hex(), "f96b697d7cb7938d525a2f31aaf161d0");
}

TEST_F(Fetch, DownloadsVerifiesAndReportsProgress) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  EXPECT_EQ(get(from(server)), target());
  expect_fetched();
  EXPECT_EQ(last_.received, 100000);
  EXPECT_EQ(last_.total, 100000);
  EXPECT_THAT(server.ranges(), ElementsAre(std::nullopt));
}

TEST_F(Fetch, MakesTheFolder) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  EXPECT_EQ(core::read_text(fetch(from(server), folder_.path() / "a" / "b", {}, options_)),
            content_);
}

TEST_F(Fetch, AsksForNothingWhereTheFileIsAlreadyThere) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  core::write_text_atomic(target(), content_);
  EXPECT_EQ(get(from(server)), target());
  EXPECT_TRUE(server.ranges().empty());
}

TEST_F(Fetch, ReplacesADamagedFileOfTheSameName) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  core::write_text_atomic(target(), "not the archive");
  get(from(server));
  expect_fetched();
}

TEST_F(Fetch, ContinuesAfterLostConnections) {
  Server server([&](int, auto range) { return resuming(content_, range, 30000); });
  get(from(server));
  expect_fetched();
  EXPECT_THAT(server.ranges(), ElementsAre(std::nullopt, 30000, 60000, 90000));
  EXPECT_EQ(last_.total, 100000);
}

TEST_F(Fetch, ContinuesWhereAnEarlierRunStopped) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  core::write_text_atomic(part(), content_.substr(0, 77777));
  get(from(server));
  expect_fetched();
  EXPECT_THAT(server.ranges(), ElementsAre(77777));
}

TEST_F(Fetch, FinishesAPartThatWasComplete) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  core::write_text_atomic(part(), content_);
  get(from(server));
  expect_fetched();
  EXPECT_TRUE(server.ranges().empty());
}

TEST_F(Fetch, StartsAgainWhereThePartIsLongerThanTheFile) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  core::write_text_atomic(part(), content_ + "more");
  get(from(server));
  expect_fetched();
  EXPECT_THAT(server.ranges(), ElementsAre(100004, std::nullopt));
}

TEST_F(Fetch, StartsAgainWhereTheServerDoesNotResume) {
  Server server([&](int, auto) { return whole(content_); });
  core::write_text_atomic(part(), content_.substr(0, 5));
  get(from(server));
  expect_fetched();
  EXPECT_THAT(server.ranges(), ElementsAre(5));
}

TEST_F(Fetch, StartsAgainWhereTheServerSendsAnotherRange) {
  Server server([&](int request, auto range) {
    return request == 0 ? resuming(content_, 6) : resuming(content_, range);
  });
  core::write_text_atomic(part(), content_.substr(0, 5));
  get(from(server));
  expect_fetched();
  EXPECT_THAT(server.ranges(), ElementsAre(5, std::nullopt));
}

TEST_F(Fetch, GivesUpOnAServerThatAlwaysRestartsAndFails) {
  Server server([&](int, auto) { return whole(content_, 30000); });
  EXPECT_THAT(message(from(server)), HasSubstr("connection lost"));
  EXPECT_EQ(server.ranges().size(), 4u);  // one with new bytes and three retries
}

TEST_F(Fetch, TriesAgainAfterAServerErrorAndKeepsNothingOfItsPage) {
  Server server([&](int request, auto range) {
    if (request == 1) {
      return Reply{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5", "sorry"};
    }
    return resuming(content_, range, 60000);
  });
  get(from(server));
  expect_fetched();
  EXPECT_THAT(server.ranges(), ElementsAre(std::nullopt, 60000, 60000));
}

TEST_F(Fetch, GivesUpAfterRetriesWithoutANewByteAndKeepsThePart) {
  Server server([&](int request, auto range) {
    return request == 0 ? resuming(content_, range, 1000) : Reply{};
  });
  EXPECT_THAT(message(from(server)), AllOf(HasSubstr(server.url() + ": connection lost: "),
                                           HasSubstr("1000 bytes are kept in " + part().string())));
  EXPECT_EQ(core::read_text(part()), content_.substr(0, 1000));
  EXPECT_FALSE(fs::exists(target()));
  EXPECT_EQ(server.ranges().size(), 4u);
}

TEST_F(Fetch, TriesAgainAfterAnEmptyAnswer) {
  for (const std::string empty :
       {"HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\nContent-Range: bytes "
        "1000-99999/100000",
        "HTTP/1.1 200 OK\r\nContent-Length: 0", "HTTP/1.1 200 OK"}) {
    Server server([&](int request, auto range) {
      return request == 0 ? Reply{empty, ""} : resuming(content_, range);
    });
    fs::remove(target());
    core::write_text_atomic(part(), content_.substr(0, 1000));
    get(from(server));
    expect_fetched();
    EXPECT_THAT(server.ranges(), ElementsAre(1000, 1000)) << empty;
  }
}

TEST_F(Fetch, KeepsThePartWhereAllAnswersAreEmpty) {
  Server server([&](int, auto) { return Reply{"HTTP/1.1 200 OK\r\nContent-Length: 0", ""}; });
  core::write_text_atomic(part(), content_.substr(0, 1000));
  EXPECT_EQ(message(from(server)), server.url() +
                                       ": connection lost: the server sent an empty response; "
                                       "1000 bytes are kept in " +
                                       part().string());
  EXPECT_EQ(core::read_text(part()), content_.substr(0, 1000));
  EXPECT_EQ(server.ranges().size(), 4u);
}

TEST_F(Fetch, DoesNotMentionAPartIfNothingWasReceived) {
  Server server([&](int, auto) {
    return Reply{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5", "sorry"};
  });
  EXPECT_EQ(message(from(server)), server.url() + ": connection lost: HTTP status 503");
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  EXPECT_EQ(server.ranges().size(), 4u);
}

TEST_F(Fetch, TriesAgainAfterAHandshakeCutOffOnlyWhereItHasAPart) {
  ::setenv("no_proxy", "127.0.0.1", 1);
  Server server([](int, auto) { return Reply{}; });
  Download download = from(server);
  download.url.replace(0, 4, "https");
  EXPECT_THAT(message(download), HasSubstr(download.url + ": cannot download: "));
  EXPECT_EQ(server.ranges().size(), 1u);
  core::write_text_atomic(part(), content_.substr(0, 1000));
  EXPECT_THAT(message(download), AllOf(HasSubstr(download.url + ": connection lost: "),
                                       HasSubstr("; 1000 bytes are kept in " + part().string())));
  EXPECT_EQ(server.ranges().size(), 5u);
  EXPECT_EQ(core::read_text(part()), content_.substr(0, 1000));
}

TEST_F(Fetch, GivesUpAConnectionThatStalls) {
  Server server([&](int request, auto range) {
    Reply reply = resuming(content_, range, request == 0 ? 500 : content_.size());
    reply.stall = request == 0;
    return reply;
  });
  options_.low_speed_s = 1;
  get(from(server));
  expect_fetched();
  EXPECT_THAT(server.ranges(), ElementsAre(std::nullopt, 500));
}

TEST_F(Fetch, ReportsTheStatusAndLeavesNothing) {
  Server server([&](int, auto) {
    return Reply{"HTTP/1.1 404 Not Found\r\nContent-Length: 9", "not here\n"};
  });
  EXPECT_EQ(message(from(server)), server.url() +
                                       ": HTTP status 404; download it on another "
                                       "machine and copy it to " +
                                       target().string());
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  EXPECT_EQ(server.ranges().size(), 1u);
}

TEST_F(Fetch, RemovesWhatHasTheWrongMd5) {
  Server server([&](int, auto) { return whole("something else"); });
  // `printf 'something else' | md5sum`
  EXPECT_EQ(message(from(server)), server.url() +
                                       ": wrong MD5, the damaged part is removed: 14 bytes have "
                                       "6c7ba9c5a141421e1c03cb9807c97c74, expected " +
                                       from(server).md5);
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(Fetch, RefusesWhatIsTooLargeEvenUnannounced) {
  Server server([&](int request, auto) {
    return request == 0 ? whole(content_) : Reply{"HTTP/1.1 200 OK", content_};
  });
  options_.max_bytes = 99999;
  EXPECT_THAT(message(from(server)), HasSubstr("larger than the limit: 99999 bytes"));
  EXPECT_THAT(message(from(server)), HasSubstr("larger than the limit: 99999 bytes"));
}

TEST_F(Fetch, FollowsNoRedirectToPlainHttp) {
  Server server([&](int, auto) {
    return Reply{"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/x\r\nContent-Length: 0", ""};
  });
  EXPECT_THAT(message(from(server)), HasSubstr(server.url() + ": cannot download: Protocol"));
}

TEST_F(Fetch, SaysThatAServerCannotBeReachedAtOnce) {
  std::string url;
  {
    url = Server([&](int, auto) { return Reply{}; }).url();
  }
  options_.pause_ms = 1000000;
  EXPECT_THAT(
      message({url, "00", "file.bin"}),
      AllOf(HasSubstr(url + ": cannot reach the server: "),
            HasSubstr("; download it on another machine and copy it to " + target().string())));
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(Fetch, RemovesTheEmptyFoldersThatItMadeAndNoOthers) {
  Server server([&](int, auto) {
    return Reply{"HTTP/1.1 404 Not Found\r\nContent-Length: 9", "not here\n"};
  });
  fs::create_directory(folder_.path() / "old");
  for (const std::string end : {"", "/"})
    EXPECT_THROW(
        fetch(from(server), folder_.path() / "old" / "new" / ("newer" + end), {}, options_), Error);
  EXPECT_TRUE(fs::is_empty(folder_.path() / "old"));
}

TEST_F(Fetch, UsesHttpsAloneBeyondThisMachine) {
  for (const std::string url : {"http://example.com/file", "ftp://localhost/file", "file:///etc/x",
                                "http://127.0.0.1.example.com/", "http://localhost@example.com/"}) {
    EXPECT_THAT(message({url, "00", "file.bin"}), HasSubstr("only https:// is allowed")) << url;
  }
  EXPECT_THAT(message({"not a url\n", "00", "file.bin"}), HasSubstr("not a URL"));
}

TEST_F(Fetch, PassesOnWhatProgressThrowsAndKeepsThePart) {
  Server server([&](int, auto range) {
    Reply reply = resuming(content_, range, 50000);
    reply.stall = true;
    return reply;
  });
  const auto stop = [](const FetchProgress& progress) {
    if (progress.received == 50000) throw std::runtime_error("enough");
  };
  EXPECT_THROW(fetch(from(server), folder_.path(), stop, options_), std::runtime_error);
  EXPECT_EQ(fs::file_size(part()), 50000u);
}

TEST_F(Fetch, IsRefusedWhileAnotherDownloadWritesTheSameFile) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  const detail::PartialDownload other(target());
  EXPECT_EQ(message(from(server)), part().string() + ": another download is writing this file");
}

TEST_F(Fetch, DoesNotWriteThroughALinkThatOthersMade) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  const fs::path victim = folder_.path() / "victim";
  core::write_text_atomic(victim, "precious");
  fs::create_symlink(victim, part());
  EXPECT_EQ(message(from(server)),
            part().string() + ": cannot open: a symbolic link; remove it and try again");
  EXPECT_EQ(core::read_text(victim), "precious");
}

TEST_F(Fetch, ShowsNoPasswordOfAnUrl) {
  Server server([&](int, auto) {
    return Reply{"HTTP/1.1 403 Forbidden\r\nContent-Length: 0", ""};
  });
  Download download = from(server);
  download.url.insert(std::string("http://").size(), "anna:secret@");
  const std::string shown = message(download);
  EXPECT_THAT(shown, HasSubstr("HTTP status 403"));
  EXPECT_THAT(shown, testing::Not(HasSubstr("secret")));
  for (const char* url : {"ftp://anna:secret@example.org/a", "https://anna:sec@ret@exa mple/a"}) {
    download.url = url;
    EXPECT_THAT(message(download), testing::Not(HasSubstr("ret@"))) << url;
  }
}

TEST_F(Fetch, SaysWhereItCannotWrite) {
  Server server([&](int, auto range) { return resuming(content_, range); });
  core::write_text_atomic(folder_.path() / "in the way", "");
  try {
    fetch(from(server), folder_.path() / "in the way" / "below", {}, options_);
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("in the way/below: cannot create: Not a directory"));
  }
}

TEST(PartFileDeathTest, KeepsWhatWasWrittenWhenTheDiskFillsUp) {
  const core::TemporaryFolder folder;
  const fs::path target = folder.path() / "file.bin";
  const std::string content(100'000, 'x');
  const auto fill = [&] {
    detail::PartialDownload(target).append(std::as_bytes(std::span(content)));
  };
  EXPECT_EXIT(test::with_full_disk(fill), testing::ExitedWithCode(1),
              "file.bin.part: cannot write: File too large");
  detail::Md5 md5;
  md5.add(std::as_bytes(std::span(content)).first(4096));
  const detail::PartialDownload part(target);
  EXPECT_EQ(part.size(), 4096);
  EXPECT_EQ(part.md5(), md5.hex());
}

TEST(KnownDownload, NamesTheOfficialArchivesAndTheirMirrors) {
  ::unsetenv("OFFRAMP_CIFAR10_URL");
  const Download official = known_download("cifar10");
  EXPECT_EQ(official.url, "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz");
  EXPECT_EQ(official.file_name, "cifar-10-binary.tar.gz");
  EXPECT_EQ(official.md5, "c32a1d4ab5d03f1284b67883e8d87530");
  EXPECT_EQ(known_download("cifar100").file_name, "cifar-100-binary.tar.gz");
  ::setenv("OFFRAMP_CIFAR10_URL", "https://mirror.example/c10", 1);
  const Download mirrored = known_download("cifar10");
  ::unsetenv("OFFRAMP_CIFAR10_URL");
  EXPECT_EQ(mirrored.url, "https://mirror.example/c10");
  EXPECT_EQ(mirrored.file_name, official.file_name);
  EXPECT_EQ(mirrored.md5, official.md5);
}

TEST(KnownDownload, RefusesAnotherName) {
  try {
    known_download("cifar11");
    FAIL() << "nothing thrown";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "unknown download \"cifar11\"; expected cifar10 or cifar100");
  }
}

}  // namespace
}  // namespace offramp::data
