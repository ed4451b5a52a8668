#pragma once

#include <omp.h>

namespace offramp {

/// Sets the number of threads that OpenMP gives this thread, for as long as it lives. oneDNN plans
/// a primitive for the number it finds when it is created.
class OmpThreads {
 public:
  explicit OmpThreads(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
  }
  ~OmpThreads() { omp_set_num_threads(before_); }
  OmpThreads(const OmpThreads&) = delete;
  OmpThreads& operator=(const OmpThreads&) = delete;

 private:
  int before_;
};

}  // namespace offramp
