#include "train/process_group.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <future>
#include <span>
#include <thread>

#include "core/numbers.h"
#include "train/compat.h"

#if defined(OFFRAMP_GLOO)
#if !defined(USE_C10D_GLOO)  // LibTorch's CMake files may define it
#define USE_C10D_GLOO
#endif
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif

namespace offramp::train {

using torch::Tensor;

void ProcessGroup::share(std::vector<std::byte>& bytes) {
  const Tensor size = torch::zeros({1}, torch::kLong);
  if (is_first()) size[0] = static_cast<std::int64_t>(bytes.size());
  sum(size, Channel::start);
  bytes.resize(static_cast<std::size_t>(size.item<std::int64_t>()));
  if (bytes.empty()) return;
  if (!is_first()) std::memset(bytes.data(), 0, bytes.size());
  sum(torch::from_blob(bytes.data(), {static_cast<std::int64_t>(bytes.size())}, torch::kByte),
      Channel::start);
}

void ProcessGroup::share(std::string& text) {
  const auto view = std::as_bytes(std::span(text));
  std::vector<std::byte> bytes(view.begin(), view.end());
  share(bytes);
  text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void ProcessGroup::share(const Tensor& tensor) {
  torch::NoGradGuard no_grad;
  const Tensor flat = is_first() ? tensor.detach().contiguous().clone()
                                 : torch::zeros(tensor.sizes(), tensor.scalar_type());
  sum(flat, Channel::start);
  tensor.detach().copy_(flat);
}

std::vector<std::string> ProcessGroup::gather(const std::string& text) {
  const Tensor sizes = torch::zeros({world()}, torch::kLong);
  sizes[rank()] = static_cast<std::int64_t>(text.size());
  sum(sizes, Channel::start);
  std::string all(static_cast<std::size_t>(sizes.sum().item<std::int64_t>()), '\0');
  const auto begin = static_cast<std::size_t>(sizes.slice(0, 0, rank()).sum().item<std::int64_t>());
  text.copy(all.data() + begin, text.size());
  if (!all.empty())
    sum(torch::from_blob(all.data(), {static_cast<std::int64_t>(all.size())}, torch::kByte),
        Channel::start);
  std::vector<std::string> texts;
  std::size_t end = 0;
  for (int r = 0; r < world(); ++r) {
    const auto size = static_cast<std::size_t>(sizes[r].item<std::int64_t>());
    texts.push_back(all.substr(end, size));
    end += size;
  }
  return texts;
}

void ProcessGroup::wait_for_all() { sum(torch::zeros({1}), Channel::start); }

void ProcessGroup::agree(const std::function<void()>& work) {
  std::string problem;
  bool wrong_usage = false;
  try {
    work();
  } catch (const RanksFailed&) {
    throw;
  } catch (const UsageError& error) {
    problem = error.what();
    wrong_usage = true;
  } catch (const Error& error) {
    problem = error.what();
  }
  const std::vector<std::string> problems =
      gather(problem.empty() ? problem : (wrong_usage ? "u" : "e") + problem);
  for (int r = 0; r < world(); ++r) {
    const std::string& text = problems[static_cast<std::size_t>(r)];
    if (text.empty()) continue;
    const std::string message =
        r == 0 ? text.substr(1) : fmt::format("rank {}: {}", r, text.substr(1));
    if (!is_first()) throw ReportedByRankZero(message, text.front() == 'u');
    if (text.front() == 'u') throw UsageError(message);
    throw Error(message);
  }
}

std::chrono::seconds rank_timeout(const char* text) {
  constexpr int kDefault = 25, kMax = 3600;
  if (text == nullptr || *text == '\0') return std::chrono::seconds(kDefault);
  const auto value = core::parse_number<int>(text);
  if (!value || *value < 1 || *value > kMax)
    throw UsageError(
        fmt::format("the variable OFFRAMP_RANK_TIMEOUT must be a number of seconds from 1 to {}: "
                    "got {}",
                    kMax, core::quote(text)));
  return std::chrono::seconds(*value);
}

#if defined(OFFRAMP_GLOO)
namespace {

using Clock = std::chrono::steady_clock;
using Store = c10::intrusive_ptr<c10d::Store>;

constexpr std::chrono::minutes kStartTimeout{10};
const std::vector<std::uint8_t> kNote = {1};  // the value of all keys in the store

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// Calls `work` on another thread and waits a few seconds for it: a request to the store of a
/// stopped process is never answered.
/// @return whether the work was done in time without an exception
bool done_in_time(std::function<void()> work) {
  auto task = std::make_shared<std::packaged_task<void()>>(std::move(work));
  auto result = task->get_future();
  std::thread([task] { (*task)(); }).detach();
  if (result.wait_for(std::chrono::seconds(3)) != std::future_status::ready) return false;
  try {
    result.get();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

/// The notes that ranks leave for each other in the store: who has started, and who has seen an
/// exchange fail.
class Notes {
 public:
  Notes(Store store, int rank, int world) : store_(std::move(store)), rank_(rank), world_(world) {}

  /// Waits until all ranks have started.
  void wait_for_start() const {
    store_->set(key("started", rank_), kNote);
    const auto until = Clock::now() + kStartTimeout;
    while (true) {
      const std::vector<int> missing = ranks_without("started");
      if (missing.empty()) return;
      if (Clock::now() > until)
        throw RanksFailed(fmt::format("rank {}: {} did not start within {} minutes", rank_,
                                      text_of(missing), kStartTimeout.count()));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  /// Whether fail() was called.
  bool failed() const { return *failed_; }

  /// Whether a rank has noted that an exchange failed, or the notes cannot be read.
  bool has_failure() const {
    auto failed = std::make_shared<bool>(false);
    const bool read =
        done_in_time([store = store_, failed] { *failed = store->check({"failed"}); });
    return !read || *failed;
  }

  /// Notes the failure, gives the other ranks a few seconds to do the same, and throws RanksFailed
  /// with the ranks that did not.
  [[noreturn]] void fail(const std::string& reason) const {
    *failed_ = true;
    const bool noted = done_in_time([store = store_, name = key("failed", rank_)] {
      store->set(name, kNote);
      store->set("failed", kNote);
      store->check({name});  // is answered; what was sent before may be lost
    });
    if (!noted)
      throw RanksFailed(fmt::format(
          "rank {}: rank 0 or the launcher has ended or does not answer: {}", rank_, reason));
    auto missing = std::make_shared<std::vector<int>>();
    bool read = true;
    const auto until = Clock::now() + std::chrono::seconds(4);
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      auto now = std::make_shared<std::vector<int>>();
      read = done_in_time([self = *this, now] { *now = self.ranks_without("failed"); });
      if (read) missing = now;
    } while (read && !missing->empty() && Clock::now() < until);
    throw RanksFailed(fmt::format("rank {}: {} ended or did not answer in time: {}", rank_,
                                  missing->empty() ? "a rank has" : text_of(*missing) + " has",
                                  reason));
  }

 private:
  static std::string key(const char* what, int rank) { return fmt::format("{}/{}", what, rank); }

  std::vector<int> ranks_without(const char* what) const {
    std::vector<int> missing;
    for (int r = 0; r < world_; ++r)
      if (!store_->check({key(what, r)})) missing.push_back(r);
    return missing;
  }

  static std::string text_of(const std::vector<int>& ranks) {
    std::string text = ranks.size() == 1 ? "rank " : "ranks ";
    for (std::size_t i = 0; i < ranks.size(); ++i)
      text += fmt::format("{}{}", i == 0 ? "" : ", ", ranks[i]);
    return text;
  }

  Store store_;
  int rank_, world_;
  std::shared_ptr<std::atomic<bool>> failed_ = std::make_shared<std::atomic<bool>>(false);
};

class GlooWork : public ProcessGroup::Work {
 public:
  GlooWork(c10::intrusive_ptr<c10d::Work> work, std::vector<Tensor> tensors, const Notes& notes)
      : work_(std::move(work)), tensors_(std::move(tensors)), notes_(notes) {}

  // Waits for short periods, and checks between them whether another rank has failed.
  void wait() override {
    constexpr std::chrono::milliseconds kTurn{1000};
    while (true) {
      try {
        work_->wait(kTurn);
        return;
      } catch (const std::exception& error) {
        if (work_->isCompleted() && !work_->isSuccess()) notes_.fail(first_line(error.what()));
        if (work_->isCompleted()) return;
      }
      if (notes_.has_failure()) notes_.fail("an exchange failed on another rank");
    }
  }

 private:
  c10::intrusive_ptr<c10d::Work> work_;
  std::vector<Tensor> tensors_;  // the tensors stay alive until the exchange is complete
  const Notes& notes_;
};

class GlooGroup : public ProcessGroup {
 public:
  GlooGroup(const Ranks& ranks, const Store& store, std::chrono::seconds timeout)
      : rank_(ranks.rank), world_(ranks.world), notes_(store, ranks.rank, ranks.world) {
    notes_.wait_for_start();
    for (const Channel channel : {Channel::start, Channel::gradients, Channel::statistics}) {
      auto options = c10d::ProcessGroupGloo::Options::create();
      options->timeout =
          channel == Channel::start ? std::chrono::milliseconds(kStartTimeout) : timeout;
      options->devices.push_back(device(ranks));
      groups_.push_back(c10::make_intrusive<c10d::ProcessGroupGloo>(
          c10::make_intrusive<c10d::PrefixStore>(
              fmt::format("channel{}", static_cast<int>(channel)), store),
          rank_, world_, options));
    }
  }

  // After a failure the threads of Gloo may still wait for the other ranks until the timeout, and
  // a destructor would wait for them.
  ~GlooGroup() override {
    if (notes_.failed())
      for (auto& group : groups_) static_cast<void>(group.release());
  }

  int rank() const override { return rank_; }
  int world() const override { return world_; }

  std::unique_ptr<Work> begin_sum(const Tensor& tensor, Channel channel) override {
    std::vector<Tensor> tensors = {tensor};
    try {
      auto work = groups_[static_cast<std::size_t>(channel)]->allreduce(tensors);
      return std::make_unique<GlooWork>(std::move(work), tensors, notes_);
    } catch (const std::exception& error) {
      notes_.fail(first_line(error.what()));
    }
  }

 private:
  // Gloo listens at the interface of GLOO_SOCKET_IFNAME if it is set, else at the address of this
  // machine's name, or, if all ranks are here, at the local one.
  static std::shared_ptr<gloo::transport::Device> device(const Ranks& ranks) {
    using Group = c10d::ProcessGroupGloo;
    const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
    if (interface != nullptr && *interface != '\0')
      return Group::createDeviceForInterface(interface);
    if (ranks.address == "127.0.0.1" || ranks.address == "localhost")
      return Group::createDeviceForHostname("127.0.0.1");
    return Group::createDefaultDevice();
  }

  int rank_, world_;
  Notes notes_;
  std::vector<c10::intrusive_ptr<c10d::ProcessGroupGloo>> groups_;
};

Store open_store(const Ranks& ranks) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(ranks.port);
  options.isServer = ranks.rank == 0 && !ranks.agent_serves;
  options.numWorkers = ranks.world;
  options.waitWorkers = false;
  options.timeout = kStartTimeout;
  compat::use_sockets_alone(options);
  const Store store = c10::make_intrusive<c10d::TCPStore>(ranks.address, options);
  // Torchrun's agent keeps its store when it starts the ranks again; old notes must not be read.
  return c10::make_intrusive<c10d::PrefixStore>(fmt::format("offramp/attempt{}", ranks.restart),
                                                store);
}

}  // namespace

std::unique_ptr<ProcessGroup> join_process_group(const Ranks& ranks, std::chrono::seconds timeout) {
  try {
    return std::make_unique<GlooGroup>(ranks, open_store(ranks), timeout);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw RanksFailed(fmt::format("rank {}: cannot connect to the other ranks at {} port {}: {}",
                                  ranks.rank, ranks.address, ranks.port, first_line(error.what())));
  }
}
#else
std::unique_ptr<ProcessGroup> join_process_group(const Ranks&, std::chrono::seconds) {
  throw UsageError(
      "several processes cannot train together: this offramp was built without Gloo (libgloo-dev)");
}
#endif

}  // namespace offramp::train
