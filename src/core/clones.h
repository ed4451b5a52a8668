#pragma once

// Loops that are compiled once for each instruction set that matters; the one for the CPU is
// chosen when the program is loaded. Sanitizers and Clang get the plain function.

/// Marks the function that is compiled several times. What it calls must be inlined into it to be
/// compiled for the same instructions: OFFRAMP_INLINE.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define OFFRAMP_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define OFFRAMP_CLONES
#endif

#define OFFRAMP_INLINE __attribute__((always_inline)) inline
