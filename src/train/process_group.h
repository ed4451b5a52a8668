#pragma once

#include <torch/torch.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "train/ranks.h"

namespace offramp::train {

/// Thrown when the exchange with the other ranks fails: one has ended, or does not answer in time.
/// No further exchange is possible then. The process should end with std::_Exit, because threads
/// may still wait for the other ranks.
class RanksFailed : public Error {
 public:
  using Error::Error;
};

/// Thrown on the other ranks when rank 0 throws an error on which all agreed, and reports it.
class ReportedByRankZero : public Error {
 public:
  ReportedByRankZero(const std::string& message, bool usage) : Error(message), wrong_usage(usage) {}
  bool wrong_usage;  ///< rank 0 throws a UsageError
};

/// The processes (ranks) that train one network together. All of them must make the same calls in
/// the same order on each channel. Calls throw RanksFailed.
class ProcessGroup {
 public:
  /// Exchanges on different channels do not wait for each other. The limits of time are finite on
  /// all; `start` is for ranks that reach the call minutes apart.
  enum class Channel { start, gradients, statistics };

  /// An exchange that was begun.
  class Work {
   public:
    virtual ~Work() = default;
    /// Waits until the exchange is complete.
    virtual void wait() = 0;
  };

  virtual ~ProcessGroup() = default;
  virtual int rank() const = 0;
  virtual int world() const = 0;
  bool is_first() const { return rank() == 0; }

  /// Begins to replace the values of a contiguous CPU tensor by their sum over all ranks, which is
  /// the same to the bit on all of them. Tensor and shape must not change until wait() returns.
  virtual std::unique_ptr<Work> begin_sum(const torch::Tensor& tensor, Channel channel) = 0;

  /// Sums a tensor over all ranks.
  void sum(const torch::Tensor& tensor, Channel channel) { begin_sum(tensor, channel)->wait(); }
  /// Replaces the bytes of every rank by those of rank 0.
  void share(std::vector<std::byte>& bytes);
  void share(std::string& text);
  /// Replaces a CPU tensor of any layout by that of rank 0.
  void share(const torch::Tensor& tensor);
  /// Returns the text of every rank, by rank.
  std::vector<std::string> gather(const std::string& text);
  /// Waits until every rank has made this call.
  void wait_for_all();
  /// Does work that may throw an Error on some ranks, and throws that of the lowest rank on all: on
  /// rank 0 as it is, on the others as ReportedByRankZero.
  void agree(const std::function<void()>& work);
};

/// Meets the other ranks and connects to them with Gloo. Waits for them up to 10 minutes.
/// @param timeout  timeout of an exchange on the channels `gradients` and `statistics`
/// @throws RanksFailed naming the ranks that did not start; UsageError if this build has no Gloo
std::unique_ptr<ProcessGroup> join_process_group(const Ranks& ranks, std::chrono::seconds timeout);

/// The timeout of exchanges: that of the variable OFFRAMP_RANK_TIMEOUT, in seconds, or 25 s.
/// @throws UsageError if it is not a number from 1 to 3600
std::chrono::seconds rank_timeout(const char* text);

}  // namespace offramp::train
