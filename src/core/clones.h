#pragma once

// A function marked OFFRAMP_CLONES is compiled for each x86-64 level that matters, and the
// processor's is chosen when the program is loaded. The sanitizers are not yet ready at that time,
// and Clang 14 does not know the levels: there it is compiled once.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define OFFRAMP_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define OFFRAMP_CLONES
#endif
// Only what is inlined into a marked function is compiled for its level.
#define OFFRAMP_INLINE [[gnu::always_inline]] inline
