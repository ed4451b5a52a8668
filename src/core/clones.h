#pragma once

// Macros for functions that are compiled once for each of several instruction sets. The version for
// the CPU is chosen when the program is loaded. Under sanitizers and Clang there is one version,
// and where OFFRAMP_ONE_VERSION is defined: tests define it to compile the loops for each
// instruction set.

/// Marks a function that is compiled several times. The functions that it calls must be inlined
/// into it (OFFRAMP_INLINE), or they are compiled for the default instruction set only. Tests are
/// built for these sets by offramp_versions() of cmake/OfframpTargets.cmake: a new one goes there
/// too.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(OFFRAMP_ONE_VERSION)
#define OFFRAMP_HAS_CLONES
#define OFFRAMP_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define OFFRAMP_CLONES
#endif

namespace offramp::core {

/// Whether the functions marked with OFFRAMP_CLONES use fused multiply-adds on this CPU. Their
/// results in f32 differ in the last bits from those without.
inline bool clones_use_fma() {
#ifdef OFFRAMP_HAS_CLONES
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(__FMA__)
  return true;
#else
  return false;
#endif
}

}  // namespace offramp::core

#define OFFRAMP_INLINE __attribute__((always_inline)) inline
