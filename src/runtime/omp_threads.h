#pragma once

#include <omp.h>

namespace offramp::runtime {

/// Sets the number of OpenMP threads for the calling thread until this object is destroyed. oneDNN
/// prepares a primitive for the number that is set when the primitive is created.
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

}  // namespace offramp::runtime
