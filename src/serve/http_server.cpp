#include "serve/http_server.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <cerrno>
#include <ctime>
#include <functional>
#include <future>
#include <list>
#include <mutex>
#include <optional>
#include <thread>

#include "core/error.h"

namespace offramp::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kMaxHeaderBytes = 16384;
constexpr std::size_t kBufferBytes = 65536;
// After an error, at most this much of a request is read and discarded, so that the client can read
// the answer.
constexpr std::size_t kMaxDiscard = std::size_t{64} << 20;
constexpr milliseconds kDiscardTime{2000};
// If a request is refused before its body was read, a body of at most this length is skipped, and
// the connection can be used again.
constexpr std::size_t kMaxSkipped = 65536;
// An idle connection has no buffer. The first read of a request takes up to this many bytes.
constexpr std::size_t kFirstReadBytes = 4096;
// If there is no memory or no free connection, or if the server drains, the server may close the
// connection of a client that has needed longer than this to send a request or read an answer.
constexpr milliseconds kSlowAfter{2000};

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

/// The body of a request as it is read, without a copy.
struct IncomingBody {
  Body body;
  bool is_skipped = false;  ///< whether the data is not kept, because the request was refused
  /// Called when the budget is exhausted. @return whether there may be room now
  std::function<bool()> make_room;
  std::function<void()> on_progress;  ///< called when a part of the body has arrived
};

/// The body type of the parser: it appends the data to an IncomingBody.
struct CountedBody {
  using value_type = IncomingBody;
  class reader {
   public:
    template <bool is_request, class Fields>
    reader(beast::http::header<is_request, Fields>&, value_type& value) : value_(value) {}
    void init(const boost::optional<std::uint64_t>&, error_code& error) { error = {}; }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, error_code& error) {
      std::size_t size = 0;
      for (const auto buffer : beast::buffers_range_ref(buffers)) {
        if (value_.is_skipped) {
          size += buffer.size();
          continue;
        }
        while (!value_.body.append(static_cast<const char*>(buffer.data()), buffer.size())) {
          if (value_.make_room()) continue;
          error = boost::system::errc::make_error_code(boost::system::errc::not_enough_memory);
          return size;
        }
        size += buffer.size();
      }
      value_.on_progress();
      error = {};
      return size;
    }
    void finish(error_code& error) { error = {}; }

   private:
    value_type& value_;
  };
};

using Parser = beast::http::request_parser<CountedBody>;

/// Returns a request with the contents of the headers. Its body has not been read yet.
std::shared_ptr<Request> header_of(const Parser& parser) {
  const auto& message = parser.get();
  auto request = std::make_shared<Request>();
  request->method = std::string(message.method_string());
  request->target = std::string(message.target());
  for (const auto& field : message)
    request->headers.emplace_back(lower(std::string(field.name_string())),
                                  std::string(field.value()));
  return request;
}

/// Returns the response to a request that cannot be read; status 0 if the client closed the
/// connection, so that no response can be sent.
Response response_to(const error_code& error, bool in_body, std::size_t max_body) {
  using E = beast::http::error;
  if (error == E::header_limit || error == E::buffer_overflow)
    return in_body ? error_response(400, "request: a chunk's header is too long")
                   : error_response(431, fmt::format("request: the headers have more than {} bytes",
                                                     kMaxHeaderBytes));
  if (error == E::body_limit)
    return error_response(
        413, fmt::format("request: the body has more than {} bytes, the server's limit "
                         "(--max-body-mib)",
                         max_body));
  if (error == boost::system::errc::not_enough_memory)
    return error_response(503, "the server's memory for requests is full; try again later");
  if (error == beast::error::timeout)
    return error_response(408, in_body ? "request: the body did not arrive in time"
                                       : "request: the headers did not arrive in time");
  if (error == E::partial_message)
    return error_response(400, "request: the connection ended in the middle of it");
  if (error.category() == beast::http::make_error_code(E::bad_value).category() &&
      error != E::end_of_stream)
    return error_response(400, "request: not valid HTTP: " + error.message());
  Response none;
  none.status = 0;
  return none;
}

}  // namespace

class HttpServer::State : public std::enable_shared_from_this<State> {
 public:
  State(const HttpOptions& options, Handler handler, Admit admit)
      : options_(options),
        handler_(std::move(handler)),
        admit_(std::move(admit)),
        budget_(std::make_shared<Budget>(options.memory_bytes)),
        acceptor_(context_),
        retry_(context_),
        tick_(context_) {
    error_code error;
    const auto address = asio::ip::make_address(
        options.address == "localhost" ? "127.0.0.1" : options.address, error);
    if (error)
      throw UsageError(fmt::format(
          "address {}: expected an IP address of this machine, for example 127.0.0.1, or localhost",
          core::quote(options.address)));
    const tcp::endpoint endpoint(address, options.port);
    const auto check = [&](const char* what) {
      if (error)
        throw Error(fmt::format("{}:{}: cannot {}: {}; choose another with --address and --port",
                                options.address, options.port, what, error.message()));
    };
    acceptor_.open(endpoint.protocol(), error);
    check("open a socket");
    acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    acceptor_.bind(endpoint, error);
    check("listen");
    acceptor_.listen(1024, error);
    check("listen");
    port_ = acceptor_.local_endpoint().port();
  }

  ~State() { join(); }

  void start() {
    thread_ = std::thread([this] { run(); });
  }

  bool drain(milliseconds most) {
    if (!thread_.joinable()) return true;
    std::promise<bool> done;
    auto result = done.get_future();
    asio::post(context_, [&] {
      draining_ = true;
      error_code ignored;
      acceptor_.close(ignored);
      const auto until = Clock::now() + most;
      close_idle_connections();
      wait_for_end(until, done);
    });
    const bool all = result.get();
    join();
    return all;
  }

  std::uint16_t port() const { return port_; }
  HttpCounts counts() const {
    return {num_connections_.load(), under_way_.load(), budget_->used()};
  }

 private:
  class Connection;
  using Connections = std::list<std::shared_ptr<Connection>>;

  void join() {
    if (!thread_.joinable()) return;
    is_stopping_ = true;
    context_.stop();
    thread_.join();
    {
      const std::lock_guard lock(posting_);
      is_stopped_ = true;
    }
    cancel_all();
    context_.restart();
    context_.poll();  // the handlers of cancelled operations release their connections
  }

  void run() {
    for (;;) {
      try {
        if (!is_accepting_ && !draining_) accept();
        context_.run();
        // Without stop(), run() returns only if no operation is pending: an exception has ended the
        // accept.
        context_.restart();
        if (is_stopping_) return;
        is_accepting_ = false;
      } catch (const std::exception& error) {
        report_fault(error.what());
        // The exception may have ended an accept before its handler began. All pending accepts are
        // cancelled, so that exactly one is started again.
        error_code ignored;
        acceptor_.cancel(ignored);
        retry_.cancel();
        is_accepting_ = false;
        // Most likely out of memory: other threads may release some in the meantime.
        std::this_thread::sleep_for(milliseconds(1));
      }
    }
  }

  void report_fault(const char* what) const noexcept {
    try {
      if (options_.on_fault) options_.on_fault(what);
    } catch (const std::exception&) {
      // The message is lost.
    }
  }

  void wait_for_end(Clock::time_point until, std::promise<bool>& done) {
    close_stalled_connections();
    if (connections_.empty() || Clock::now() >= until) {
      // A request whose client has closed the connection waits for no answer.
      done.set_value(connections_.empty() || under_way_ == 0);
      return;
    }
    tick_.expires_after(milliseconds(10));
    tick_.async_wait([this, until, &done](error_code) { wait_for_end(until, done); });
  }

  // If this throws, run() calls it again.
  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;  // run() has started another accept
      is_accepting_ = false;
      if (draining_) return;
      if (error) {  // for example, there is no free file descriptor
        retry_.expires_after(milliseconds(50));
        retry_.async_wait([this](error_code cancelled) {
          if (cancelled) return;
          is_accepting_ = false;
          if (!draining_) accept();
        });
        is_accepting_ = true;
        return;
      }
      begin(std::move(socket));
      accept();
    });
    is_accepting_ = true;
  }

  void begin(tcp::socket socket);
  void end(Connections::iterator place) {
    connections_.erase(place);
    num_connections_ = connections_.size();
  }
  void close_idle_connections();
  /// Closes connections whose clients neither send the rest of their request nor read their answer.
  void close_stalled_connections();
  void cancel_all();
  /// Makes room for a new connection: closes the one that has been idle for the longest time or, if
  /// none is idle, the slowest. @return false if there is neither
  bool close_longest_idle();
  /// Closes the connection whose client has been sending its request or reading its answer for the
  /// longest time, at least kSlowAfter. @return false if there is none other than `except`
  bool close_slowest(const Connection* except);

  const HttpOptions options_;
  const Handler handler_;
  const Admit admit_;
  const std::shared_ptr<Budget> budget_;
  std::uint16_t port_ = 0;

  asio::io_context context_{1};  // the members below belong to its thread, except for the counts
  tcp::acceptor acceptor_;
  asio::steady_timer retry_, tick_;
  Connections connections_;
  bool draining_ = false, is_accepting_ = false;
  std::atomic<bool> is_stopping_ = false;
  std::atomic<std::size_t> num_connections_ = 0, under_way_ = 0;
  std::mutex posting_;
  bool is_stopped_ = false;  // guarded by posting_
  std::thread thread_;
};

/// The connection of one client. It reads a request, waits for its answer, writes the answer, and
/// reads the next request.
class HttpServer::State::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<State> server, tcp::socket socket)
      : server_owner_(std::move(server)),
        server_(*server_owner_),
        stream_(std::move(socket)),
        buffer_(kBufferBytes) {
    error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    stream_.socket().non_blocking(true, ignored);
  }

  Connections::iterator place;

 private:
  /// Makes the completion handler of an operation, which keeps the connection alive until then. An
  /// exception in it, usually for lack of memory, closes this connection and not the server. After
  /// the connection was closed, the handler starts nothing more: nothing would cancel a new
  /// operation, which would keep the connection and with it the server alive forever.
  template <typename Work>
  auto later(Work work) {
    return [self = shared_from_this(), work](auto... arguments) {
      if (self->is_closed_) return;
      try {
        work(*self, arguments...);
      } catch (const std::exception& error) {
        self->server_.report_fault(error.what());
        self->close();
      }
    };
  }

 public:
  void read_next() {
    request_.reset();
    is_idle_ = true;
    since_ = Clock::now();
    if (server_.draining_) return close();
    skip_empty_lines();
    if (buffer_.size() > 0) return read_header();
    stream_.expires_never();
    timer_.expires_after(server_.options_.idle_timeout);
    timer_.async_wait(later([](Connection& self, error_code error) {
      if (!error && self.is_idle_ && Clock::now() >= self.timer_.expiry()) self.close();
    }));
    wait_for_request();
  }

  bool is_idle() const { return is_idle_; }
  /// Whether the server waits for the client to send the rest of its request or to read its answer.
  bool waits_for_client() const { return is_sending_ || is_reading_; }
  Clock::time_point since() const { return since_; }
  bool is_stalled() const { return waits_for_client() && Clock::now() - progress_ > kSlowAfter; }
  void close_if_idle() {
    if (is_idle_) close();
  }

  void close() {
    if (is_closed_) return;
    is_closed_ = true;
    timer_.cancel();
    if (request_) request_->cancellation.cancel();
    // If the connection is closed for lack of memory, its memory is released at once.
    if (is_sending_ && parser_) parser_->get().body().body = Body();
    body_memory_ = {};
    const auto self = shared_from_this();
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.close();
    server_.end(place);
  }

 private:
  /// Waits until the client sends something. The connection has no buffer meanwhile.
  void wait_for_request() {
    buffer_.shrink_to_fit();
    stream_.socket().async_wait(
        tcp::socket::wait_read, later([](Connection& self, error_code error) {
          if (error) return self.close();
          const auto space = self.buffer_.prepare(kFirstReadBytes);
          const std::size_t size = self.stream_.socket().read_some(space, error);
          if (error && error != asio::error::would_block) return self.close();
          self.buffer_.commit(size);
          self.skip_empty_lines();
          if (self.buffer_.size() == 0 || self.has_half_a_line_end())
            return self.wait_for_request();
          self.read_header();
        }));
  }

  /// Removes line ends before a request, which some clients send after a body (RFC 9112, 2.2).
  void skip_empty_lines() {
    const auto* const begin = static_cast<const char*>(buffer_.data().data());
    const std::string_view data(begin, buffer_.size());
    std::size_t end = 0;
    while (data.substr(end, 2) == "\r\n") end += 2;
    buffer_.consume(end);
  }

  /// Whether a carriage return is all that has arrived.
  bool has_half_a_line_end() const {
    return buffer_.size() == 1 && *static_cast<const char*>(buffer_.data().data()) == '\r';
  }

  void read_header() {
    is_idle_ = false;
    is_sending_ = true;
    since_ = progress_ = Clock::now();
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(server_.options_.max_body_bytes);
    parser_->get().body().body.use(server_.budget_);
    parser_->get().body().make_room = [this] { return server_.close_slowest(this); };
    parser_->get().body().on_progress = [this] { progress_ = Clock::now(); };
    allow_reading_for(server_.options_.header_timeout);
    beast::http::async_read_header(stream_, buffer_, *parser_,
                                   later([](Connection& self, error_code error, std::size_t) {
                                     if (error) return self.refuse(error, false);
                                     self.take_header();
                                   }));
  }

  void take_header() {
    if (is_closed_) return;
    request_ = header_of(*parser_);
    const auto& message = parser_->get();
    keep_alive_ = message.keep_alive();
    is_http_1_0_ = message.version() < 11;
    is_head_ = request_->method == "HEAD";
    try {
      check_headers(*request_, is_http_1_0_);
    } catch (const HttpError& error) {
      // The beginning of the next request may be unknown.
      return refuse(error_response(error.status(), error.what()), false);
    }
    if (server_.admit_)
      if (std::optional<Response> refusal = server_.admit_(*request_))
        return refuse_unread(std::move(*refusal));
    read_body();
  }

  /// Answers a request whose body has not been read. A body whose length is given and short is
  /// skipped after the answer, and the connection can be used again.
  void refuse_unread(Response response) {
    parser_->get().body().is_skipped = true;
    error_code error;
    if (!parser_->is_done() && buffer_.size() > 0) {
      parser_->eager(true);
      buffer_.consume(parser_->put(buffer_.data(), error));
      if (error == beast::http::error::need_more) error = {};
    }
    const auto length = parser_->content_length();
    // A client that waits for 100 Continue may send its body nevertheless, or not.
    const bool is_to_skip = !error && !parser_->is_done() && keep_alive_ &&
                            request_->header("expect") == nullptr && length &&
                            *length <= kMaxSkipped;
    if (!is_to_skip) return refuse(std::move(response), !error && parser_->is_done());
    is_sending_ = false;
    timer_.cancel();
    request_.reset();
    write(std::move(response));
  }

  /// Reads and discards the rest of the body of a request that was refused.
  void skip_body() {
    is_sending_ = true;
    since_ = progress_ = Clock::now();
    allow_reading_for(server_.options_.body_timeout);
    beast::http::async_read(stream_, buffer_, *parser_,
                            later([](Connection& self, error_code error, std::size_t) {
                              self.is_sending_ = false;
                              self.timer_.cancel();
                              if (error) return self.end_after_answer();
                              self.parser_.reset();
                              self.read_next();
                            }));
  }

  void read_body() {
    if (!parser_->is_done() && request_->header("expect") != nullptr && !is_http_1_0_)
      send_now(kContinue);
    allow_reading_for(server_.options_.body_timeout);
    beast::http::async_read(stream_, buffer_, *parser_,
                            later([](Connection& self, error_code error, std::size_t) {
                              if (error) return self.refuse(error, true);
                              self.dispatch();
                            }));
  }

  /// Cancels the read operation that starts now if it takes longer than `most`. (The time limit of
  /// the stream would close the connection, so the client would not learn the reason.)
  void allow_reading_for(milliseconds most) {
    is_late_ = false;
    stream_.expires_never();
    timer_.expires_after(most);
    timer_.async_wait(later([](Connection& self, error_code error) {
      if (error || !self.is_sending_ || Clock::now() < self.timer_.expiry()) return;
      self.is_late_ = true;
      error_code ignored;
      self.stream_.socket().cancel(ignored);
    }));
  }

  void refuse(error_code error, bool in_body) {
    if (is_late_ && error == asio::error::operation_aborted) error = beast::error::timeout;
    Response response = response_to(error, in_body, server_.options_.max_body_bytes);
    if (response.status == 0 || is_closed_) return close();
    if (!in_body) is_head_ = false;  // the value is of an earlier request
    refuse(std::move(response), false);
  }

  /// Answers a request and, unless `is_read` is true, discards the rest of it.
  void refuse(Response response, bool is_read) {
    is_sending_ = false;
    timer_.cancel();
    if (!is_read) {
      keep_alive_ = false;
      discard_ = true;
    }
    parser_.reset();  // releases the memory of the body
    request_.reset();
    stream_.expires_never();
    write(std::move(response));
  }

  void dispatch() {
    is_sending_ = false;
    timer_.cancel();
    if (is_closed_) return;
    request_->body = std::move(parser_->get().body().body);
    parser_.reset();
    stream_.expires_never();
    // The reply may be called late; it keeps the connection alive until then.
    auto reply = [self = shared_from_this(),
                  replied = std::make_shared<std::atomic<bool>>(false)](Response response) {
      if (replied->exchange(true)) return;
      const std::lock_guard lock(self->server_.posting_);
      if (self->server_.is_stopped_) return;
      try {
        asio::post(self->server_.context_,
                   [self, response = std::move(response)]() mutable { self->answer(response); });
      } catch (const std::exception& error) {
        // The client gets no answer, but the thread that replies must go on, because it serves
        // other clients.
        self->server_.report_fault(error.what());
      }
    };
    ++server_.under_way_;
    waits_for_reply_ = true;
    try {
      watch_client();
      server_.handler_(request_, reply);
    } catch (const std::exception& error) {
      server_.report_fault(error.what());
      reply(error_response(500, "internal error"));
    }
  }

  void answer(Response& response) {
    --server_.under_way_;
    if (is_closed_) return;
    waits_for_reply_ = false;
    error_code ignored;
    stream_.socket().cancel(ignored);
    request_.reset();
    try {
      write(std::move(response));
    } catch (const std::exception& error) {
      server_.report_fault(error.what());
      close();
    }
  }

  // Notices while a request runs that its client has closed the connection. The end of the client's
  // stream is not proof, because the client may only have finished sending. The server then sends
  // an interim response. A client ignores it, but the system of a client that has closed the
  // connection answers with a reset.
  void watch_client() {
    if (buffer_.size() > 0) return;  // the next request has arrived already
    stream_.socket().async_wait(tcp::socket::wait_read,
                                later([](Connection& self, error_code error) {
                                  if (!error && self.waits_for_reply_) self.check_client();
                                }));
  }
  void check_client() {
    char byte = 0;
    const ssize_t got = ::recv(stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0) return;  // the next request has arrived
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
      return watch_client();  // no data has arrived after all
    if (got < 0) return close();
    if (!is_http_1_0_) send_now(kContinue);
    stream_.socket().async_wait(tcp::socket::wait_error,
                                later([](Connection& self, error_code error) {
                                  if (!error && self.waits_for_reply_) self.close();
                                }));
  }
  void send_now(std::string_view text) {
    // A few bytes fit into an empty send buffer; otherwise the connection is broken anyway.
    [[maybe_unused]] const ssize_t sent = ::send(stream_.socket().native_handle(), text.data(),
                                                 text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  std::string head_of(const Response& response) const {
    std::string head = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status,
                                   reason_of(response.status), http_date(std::time(nullptr)));
    if (response.status !=
        304) {  // a 304 has no content, and the length that the 200 would have is not known here
      head += fmt::format("Content-Length: {}\r\n", response.body.size());
      if (!response.content_type.empty())
        head += fmt::format("Content-Type: {}\r\n", response.content_type);
    }
    for (const auto& [name, value] : response.headers)
      head += fmt::format("{}: {}\r\n", name, value);
    if (!keep_alive_)
      head += "Connection: close\r\n";
    else if (is_http_1_0_)
      head += "Connection: keep-alive\r\n";
    return head + "\r\n";
  }

  void write(Response response) {
    body_memory_ = Reservation(server_.budget_);
    if (response.body.size() > kBufferBytes && !body_memory_.take(response.body.size()))
      response = error_response(503, "the server's memory for answers is full; try again later");
    if (server_.draining_) keep_alive_ = false;
    head_ = head_of(response);
    body_ = is_head_ ? std::string() : std::move(response.body);
    is_reading_ = true;
    since_ = progress_ = Clock::now();
    stream_.expires_after(server_.options_.write_timeout);
    const std::array<asio::const_buffer, 2> buffers{asio::buffer(head_), asio::buffer(body_)};
    const auto note_progress = [this](const error_code& error, std::size_t) -> std::size_t {
      progress_ = Clock::now();
      return error ? 0 : kBufferBytes;
    };
    asio::async_write(
        stream_, buffers, note_progress,
        later([](Connection& self, error_code error, std::size_t) { self.finish_answer(error); }));
  }

  void finish_answer(error_code error) {
    is_reading_ = false;
    head_ = {};
    body_ = {};
    body_memory_ = {};
    if (error) return close();
    if (!keep_alive_) return end_after_answer();
    if (parser_) return skip_body();
    read_next();
  }

  void end_after_answer() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    if (!discard_ && !parser_) return close();
    parser_.reset();
    discard_until_ = Clock::now() + kDiscardTime;
    discard(0);
  }

  /// Reads and discards what the client still sends. If the connection were closed at once, the
  /// client could lose the answer.
  void discard(std::size_t so_far) {
    buffer_.clear();
    if (so_far > kMaxDiscard || Clock::now() > discard_until_) return close();
    stream_.expires_at(discard_until_);
    stream_.async_read_some(buffer_.prepare(kBufferBytes),
                            later([so_far](Connection& self, error_code error, std::size_t size) {
                              if (error) return self.close();
                              self.discard(so_far + size);
                            }));
  }

  // This keeps the server alive for a late reply. The cycle of references from the server to its
  // connections ends when these close.
  const std::shared_ptr<State> server_owner_;
  State& server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;      // set while a request is read, and until its body was skipped
  std::shared_ptr<Request> request_;  // set from the header of the request until its answer
  std::string head_, body_;           // the response that is being written
  Reservation body_memory_;           // of body_
  bool keep_alive_ = true, is_http_1_0_ = false, is_head_ = false, discard_ = false;
  // Limits the time between two requests and for reading one.
  asio::steady_timer timer_{server_owner_->context_};
  bool is_late_ = false;  // whether the timer has cancelled the reading
  bool is_idle_ = true, is_closed_ = false, waits_for_reply_ = false;
  // Whether the client sends its request, or reads its answer.
  bool is_sending_ = false, is_reading_ = false;
  // Since when the connection is idle, or the server waits for the client.
  Clock::time_point since_;
  Clock::time_point progress_;  // when the client last sent or received data
  Clock::time_point discard_until_;
};

void HttpServer::State::begin(tcp::socket socket) {
  if (connections_.size() >= options_.max_connections && !close_longest_idle()) {
    static constexpr std::string_view kBusy =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n";
    [[maybe_unused]] const ssize_t sent =
        ::send(socket.native_handle(), kBusy.data(), kBusy.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return;
  }
  auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket));
  connections_.push_front(connection);
  connection->place = connections_.begin();
  num_connections_ = connections_.size();
  try {
    connection->read_next();
  } catch (const std::exception&) {
    connection->close();
    throw;
  }
}

void HttpServer::State::close_idle_connections() {
  for (auto it = connections_.begin(); it != connections_.end();) (*it++)->close_if_idle();
}

void HttpServer::State::close_stalled_connections() {
  for (auto it = connections_.begin(); it != connections_.end();) {
    Connection& one = **it++;
    if (one.is_stalled()) one.close();
  }
}

void HttpServer::State::cancel_all() {
  for (auto it = connections_.begin(); it != connections_.end();) (*it++)->close();
}

bool HttpServer::State::close_longest_idle() {
  Connection* longest = nullptr;
  for (const auto& one : connections_)
    if (one->is_idle() && (longest == nullptr || one->since() < longest->since()))
      longest = one.get();
  if (longest == nullptr) return close_slowest(nullptr);
  longest->close();
  return true;
}

bool HttpServer::State::close_slowest(const Connection* except) {
  Connection* slowest = nullptr;
  for (const auto& one : connections_)
    if (one->waits_for_client() && one.get() != except &&
        (slowest == nullptr || one->since() < slowest->since()))
      slowest = one.get();
  if (slowest == nullptr || Clock::now() - slowest->since() < kSlowAfter) return false;
  slowest->close();
  return true;
}

std::variant<std::shared_ptr<Request>, Response> read_request(std::string_view bytes,
                                                              const HttpOptions& options,
                                                              std::shared_ptr<Budget> budget) {
  Parser parser;
  parser.header_limit(kMaxHeaderBytes);
  parser.body_limit(options.max_body_bytes);
  parser.get().body().body.use(std::move(budget));
  parser.get().body().make_room = [] { return false; };
  parser.get().body().on_progress = [] {};
  std::shared_ptr<Request> request;
  error_code error;
  while (bytes.starts_with("\r\n")) bytes.remove_prefix(2);
  while (!parser.is_done()) {
    const std::size_t used = parser.put(asio::buffer(bytes), error);
    bytes.remove_prefix(used);
    if (parser.is_header_done() && !request) {
      request = header_of(parser);
      try {
        check_headers(*request, parser.get().version() < 11);
      } catch (const HttpError& refusal) {
        return error_response(refusal.status(), refusal.what());
      }
    }
    if (error == beast::http::error::need_more && (used == 0 || bytes.empty()))
      error = beast::http::error::partial_message;
    if (error && error != beast::http::error::need_more)
      return response_to(error, parser.is_header_done(), options.max_body_bytes);
    if (used == 0 && bytes.empty() && !parser.is_done())
      return response_to(beast::http::error::partial_message, true, options.max_body_bytes);
  }
  request->body = std::move(parser.get().body().body);
  return request;
}

HttpServer::HttpServer(const HttpOptions& options, Handler handler, Admit admit)
    : state_(std::make_shared<State>(options, std::move(handler), std::move(admit))) {}
HttpServer::~HttpServer() { state_->drain(std::chrono::milliseconds(0)); }

std::uint16_t HttpServer::port() const { return state_->port(); }
void HttpServer::start() { state_->start(); }
bool HttpServer::drain(milliseconds most) { return state_->drain(most); }
HttpCounts HttpServer::counts() const { return state_->counts(); }

}  // namespace offramp::serve
