#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "core/parallel.h"

namespace offramp::engine {

/// Work that a team's threads share with the thread that asked for it.
class Job {
 public:
  virtual ~Job() = default;
  /// Whether work(lane) would do something now. Quick; called with the team's lock held.
  virtual bool has_work(int lane) const noexcept = 0;
  /// Does one piece of work, if there is any. Calls for one lane never overlap.
  virtual void work(int lane) noexcept = 0;
};

/// The threads of an opened model besides its callers': they serve every job that is attached, in
/// turns. The first attach() starts them. Thread-safe.
class Team {
 public:
  /// @param threads      that serve as lanes 1 … threads; lane 0 is a job's own caller
  /// @param omp_threads  that OpenMP gives each of them
  Team(int threads, int omp_threads) : num_threads_(threads), omp_threads_(omp_threads) {}
  /// REQUIRES: no job is attached.
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  /// @throws Error if the threads cannot be started
  void attach(Job& job);
  /// Returns when no thread works on the job any more.
  void detach(Job& job);
  /// Says that an attached job has got work. The caller must not hold a lock that has_work() takes.
  void notify();

 private:
  struct Attached {
    Job* job = nullptr;
    int users = 0;  // threads inside work()
  };

  void serve(int lane);
  void close();
  Attached* next_with_work(int lane);

  const int num_threads_, omp_threads_;
  std::mutex starting_;  // one attach() at a time; comes before mutex_
  std::mutex mutex_;
  std::condition_variable changed_, left_;
  std::vector<Attached*> jobs_;
  std::size_t turn_ = 0;  // where the next search begins
  bool closing_ = false;
  Threads threads_;
};

}  // namespace offramp::engine
