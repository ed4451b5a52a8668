#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace offramp::test {

/// A response as it came from a socket.
struct RawResponse {
  int status = 0;  ///< 0: the connection ended without a response
  std::string head, body;
};

/// A connection to a server on this machine that may send any bytes.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      ::close(socket_);
      throw std::runtime_error("cannot connect");
    }
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() { close(); }

  /// @return false if the server has closed the connection
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void finish_sending() { ::shutdown(socket_, SHUT_WR); }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }

  /// Reads the next response; interim ones (100 Continue) are counted and skipped.
  RawResponse receive(bool has_body = true) {
    for (;;) {
      RawResponse response;
      std::size_t end = 0;
      while ((end = unread_.find("\r\n\r\n")) == std::string::npos)
        if (!read_more()) return response;
      response.head = unread_.substr(0, end + 4);
      unread_.erase(0, end + 4);
      response.status = std::stoi(response.head.substr(9, 3));
      if (response.status == 100) {
        ++interim_responses;
        continue;
      }
      const std::size_t at = response.head.find("Content-Length: ");
      const std::size_t length =
          has_body && at != std::string::npos ? std::stoul(response.head.substr(at + 16)) : 0;
      while (unread_.size() < length)
        if (!read_more()) return {};
      response.body = unread_.substr(0, length);
      unread_.erase(0, length);
      return response;
    }
  }

  /// Whether the server closes the connection without sending anything more.
  bool is_closed() { return unread_.empty() && !read_more(); }

  int interim_responses = 0;

 private:
  bool read_more() {
    pollfd waits{socket_, POLLIN, 0};
    if (::poll(&waits, 1, 60'000) != 1) return false;
    char bytes[65536];
    const ssize_t size = ::recv(socket_, bytes, sizeof bytes, 0);
    if (size <= 0) return false;
    unread_.append(bytes, static_cast<std::size_t>(size));
    return true;
  }

  int socket_;
  std::string unread_;
};

}  // namespace offramp::test
