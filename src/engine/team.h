#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "core/parallel.h"

namespace offramp::engine {

/// Work that the threads of a team share with the thread that attached it.
class Job {
 public:
  virtual ~Job() = default;
  /// Whether there is work for this lane now. It must return quickly: the team's lock is held.
  virtual bool has_work(int lane) const noexcept = 0;
  /// Does one piece of work, if there is any. Only one thread at a time calls it for a lane.
  virtual void work(int lane) noexcept = 0;
};

/// The threads of an opened model that help its calling threads. They work on all attached jobs in
/// turn. The first attach() starts them. Thread-safe.
class Team {
 public:
  /// @param threads      number of threads; they are the lanes 1 … threads of a job, and the thread
  ///                     that attached the job is its lane 0
  /// @param omp_threads  number of OpenMP threads that each of them may use
  Team(int threads, int omp_threads) : num_threads_(threads), omp_threads_(omp_threads) {}
  /// REQUIRES: no job is attached.
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  /// Adds a job, which must stay valid until detach(). @throws Error if the threads cannot be
  /// started
  void attach(Job& job);
  /// Removes a job and returns when no thread works on it any more.
  void detach(Job& job);
  /// Wakes the threads because an attached job has new work. The caller must not hold a lock that
  /// has_work() takes.
  void notify();

 private:
  struct AttachedJob {
    Job* job = nullptr;
    int num_workers = 0;  // number of threads inside work()
  };

  void work_until_closed(int lane);
  void close();
  AttachedJob* next_with_work(int lane);

  const int num_threads_, omp_threads_;
  std::mutex start_mutex_;  // held by attach(), so that one thread at a time starts the team; taken
                            // before mutex_
  std::mutex mutex_;
  std::condition_variable changed_, job_is_idle_;
  std::vector<AttachedJob*> jobs_;
  std::size_t next_job_ = 0;  // index of the job where the next search for work begins
  bool closing_ = false;
  core::Threads threads_;
};

}  // namespace offramp::engine
