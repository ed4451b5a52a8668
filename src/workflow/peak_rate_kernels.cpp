#include "workflow/peak_rate_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace offramp::workflow {

#if defined(__x86_64__)
namespace {

// The results are stored here, so that the compiler does not remove the loops.
volatile float float_sink = 0;
volatile int int_sink = 0;

// Number of independent sums. To be always busy, a CPU needs its latency times its number of
// execution units: at most 5 × 2 for these instructions.
#define OFFRAMP_TIMES_12(DO) \
  DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define OFFRAMP_TIMES_16(DO) OFFRAMP_TIMES_12(DO) DO(12) DO(13) DO(14) DO(15)

__attribute__((target("avx2,fma"))) void f32_avx2(std::int64_t turns) {
  const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
#define OFFRAMP_BEGIN(i) __m256 s##i = _mm256_set1_ps(static_cast<float>(i));
#define OFFRAMP_STEP(i) s##i = _mm256_fmadd_ps(a, b, s##i);
#define OFFRAMP_END(i) sum = _mm256_add_ps(sum, s##i);
  OFFRAMP_TIMES_12(OFFRAMP_BEGIN)
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    OFFRAMP_TIMES_12(OFFRAMP_STEP)
  }
  __m256 sum = _mm256_setzero_ps();
  OFFRAMP_TIMES_12(OFFRAMP_END)
  float_sink = _mm256_cvtss_f32(sum);
#undef OFFRAMP_BEGIN
#undef OFFRAMP_STEP
#undef OFFRAMP_END
}

__attribute__((target("avx512f"))) void f32_avx512(std::int64_t turns) {
  const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
#define OFFRAMP_BEGIN(i) __m512 s##i = _mm512_set1_ps(static_cast<float>(i));
#define OFFRAMP_STEP(i) s##i = _mm512_fmadd_ps(a, b, s##i);
#define OFFRAMP_END(i) sum = _mm512_add_ps(sum, s##i);
  OFFRAMP_TIMES_16(OFFRAMP_BEGIN)
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    OFFRAMP_TIMES_16(OFFRAMP_STEP)
  }
  __m512 sum = _mm512_setzero_ps();
  OFFRAMP_TIMES_16(OFFRAMP_END)
  float_sink = _mm512_cvtss_f32(sum);
#undef OFFRAMP_STEP
}

__attribute__((target("avx512f,avx512bf16"))) void bf16_avx512(std::int64_t turns) {
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f)), b = a;
#define OFFRAMP_STEP(i) s##i = _mm512_dpbf16_ps(s##i, a, b);
  OFFRAMP_TIMES_16(OFFRAMP_BEGIN)
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    OFFRAMP_TIMES_16(OFFRAMP_STEP)
  }
  __m512 sum = _mm512_setzero_ps();
  OFFRAMP_TIMES_16(OFFRAMP_END)
  float_sink = _mm512_cvtss_f32(sum);
#undef OFFRAMP_BEGIN
#undef OFFRAMP_STEP
#undef OFFRAMP_END
}

__attribute__((target("avx512f,avx512vnni"))) void int8_avx512(std::int64_t turns) {
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(2);
#define OFFRAMP_BEGIN(i) __m512i s##i = _mm512_set1_epi32(i);
#define OFFRAMP_STEP(i) s##i = _mm512_dpbusd_epi32(s##i, a, b);
#define OFFRAMP_END(i) sum = _mm512_add_epi32(sum, s##i);
  OFFRAMP_TIMES_16(OFFRAMP_BEGIN)
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    OFFRAMP_TIMES_16(OFFRAMP_STEP)
  }
  __m512i sum = _mm512_setzero_si512();
  OFFRAMP_TIMES_16(OFFRAMP_END)
  int_sink = _mm512_cvtsi512_si32(sum);
#undef OFFRAMP_BEGIN
#undef OFFRAMP_STEP
#undef OFFRAMP_END
}

__attribute__((target("avx2,avxvnni"))) void int8_avx2(std::int64_t turns) {
  const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(2);
#define OFFRAMP_BEGIN(i) __m256i s##i = _mm256_set1_epi32(i);
#define OFFRAMP_STEP(i) s##i = _mm256_dpbusd_avx_epi32(s##i, a, b);
#define OFFRAMP_END(i) sum = _mm256_add_epi32(sum, s##i);
  OFFRAMP_TIMES_12(OFFRAMP_BEGIN)
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    OFFRAMP_TIMES_12(OFFRAMP_STEP)
  }
  __m256i sum = _mm256_setzero_si256();
  OFFRAMP_TIMES_12(OFFRAMP_END)
  int_sink = _mm256_extract_epi32(sum, 0);
#undef OFFRAMP_BEGIN
#undef OFFRAMP_STEP
#undef OFFRAMP_END
}
#undef OFFRAMP_TIMES_16
#undef OFFRAMP_TIMES_12

/// The operand of ldtilecfg: it configures eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// _tile_loadconfig() is not used, because GCC 12 assumes that it reads only 8 of the 64 bytes. It
// then removes the stores to the others, and the instruction faults.
__attribute__((target("amx-tile"))) inline void load_tile_config(const TileConfig& config) {
  asm volatile("ldtilecfg %0" ::"m"(config));
}

// Tiles 0 to 3 hold four independent sums: a product occupies the unit for 16 cycles, and its
// result is ready after 52.
__attribute__((target("amx-tile,amx-bf16"))) void bf16_amx(std::int64_t turns) {
  const TileConfig config;
  load_tile_config(config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

__attribute__((target("amx-tile,amx-int8"))) void int8_amx(std::int64_t turns) {
  const TileConfig config;
  load_tile_config(config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
}

/// Asks Linux for permission to use the tile registers, which a process needs before it uses them.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

struct Cpu {
  bool amd = false, intel = false;
  int family = 0;
  bool amx_bf16 = false, amx_int8 = false, avx_vnni = false;
};

Cpu this_cpu() {
  Cpu cpu;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) != 0) {
    cpu.amd = b == signature_AMD_ebx;
    cpu.intel = b == signature_INTEL_ebx;
  }
  if (__get_cpuid(1, &a, &b, &c, &d) != 0)
    cpu.family = static_cast<int>(((a >> 8) & 15) + ((a >> 20) & 255));
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    cpu.amx_bf16 = (d >> 22 & 1) != 0 && (d >> 24 & 1) != 0;
    cpu.amx_int8 = (d >> 25 & 1) != 0 && (d >> 24 & 1) != 0;
  }
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) cpu.avx_vnni = (a >> 4 & 1) != 0;
  return cpu;
}

/// Number of 512-bit multiply-adds that a core can start in a cycle; 0: unknown. AMD's family 19h
/// (Zen 4) combines two 256-bit units into one, and family 1Ah (Zen 5) has two 512-bit units. From
/// AMD's Software Optimization Guides for the families 19h and 1Ah.
double wide_per_cycle(const Cpu& cpu) {
  return !cpu.amd ? 0 : cpu.family == 0x19 ? 1 : cpu.family == 0x1a ? 2 : 0;
}

}  // namespace

std::vector<PeakKernel> peak_kernels() {
  __builtin_cpu_init();
  const Cpu cpu = this_cpu();
  const double wide = wide_per_cycle(cpu);
  const bool tiles = (cpu.amx_bf16 || cpu.amx_int8) && may_use_tiles();
  std::vector<PeakKernel> kernels;
  if (__builtin_cpu_supports("avx512f"))
    kernels.push_back({"f32", "vfmadd231ps zmm", 16, wide, 16, f32_avx512});
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    kernels.push_back({"f32", "vfmadd231ps ymm", 8, cpu.amd || cpu.intel ? 2.0 : 0, 12, f32_avx2});
  if (cpu.amx_bf16 && tiles)
    kernels.push_back({"bf16", "tdpbf16ps", 16 * 16 * 32, 1.0 / 16, 4, bf16_amx});
  else if (__builtin_cpu_supports("avx512bf16"))
    kernels.push_back({"bf16", "vdpbf16ps zmm", 32, wide, 16, bf16_avx512});
  if (cpu.amx_int8 && tiles)
    kernels.push_back({"int8", "tdpbusd", 16 * 16 * 64, 1.0 / 16, 4, int8_amx});
  else if (__builtin_cpu_supports("avx512vnni"))
    kernels.push_back({"int8", "vpdpbusd zmm", 64, wide, 16, int8_avx512});
  else if (cpu.avx_vnni)
    kernels.push_back({"int8", "vpdpbusd ymm", 32, cpu.amd || cpu.intel ? 2.0 : 0, 12, int8_avx2});
  return kernels;
}

void add_chain(std::int64_t additions) {
  std::uint64_t sum = 0, one = 1;
  for (std::int64_t left = additions / 16; left > 0; --left)
    asm volatile(
        "add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
        "add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
        "add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
        "add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
        : "+r"(sum)
        : "r"(one));
}

#else

std::vector<PeakKernel> peak_kernels() { return {}; }
void add_chain(std::int64_t) {}

#endif

}  // namespace offramp::workflow
