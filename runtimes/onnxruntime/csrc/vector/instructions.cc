// Which instruction set this processor runs, and the code that was compiled for it.
#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>

#if defined(HETC_X86_64)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "vector/narrow_variants.h"
#include "vector/vector_code.h"

namespace hetc {

namespace portable {
extern const VectorCode code;
}

#if defined(HETC_X86_64)
namespace avx2 {
extern const VectorCode code;
}
namespace avx512 {
extern const VectorCode code;
}

namespace {

enum class Instructions { kPortable, kAvx2, kAvxVnni, kAvx512, kAmx };

// In the order of the values.
constexpr std::array<const char*, 5> kNames = {"portable", "avx2", "avxvnni", "avx512", "amx"};

// The most that the environment allows; a name that is not known allows everything.
Instructions upper_bound() {
  const char* variable = std::getenv("HETC_INSTRUCTIONS");
  const std::string name = variable == nullptr ? "" : variable;
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<Instructions>(i);
  }
  return Instructions::kAmx;
}

// The tile registers must be asked for, once in a process.
bool amx_runs() {
#if defined(__linux__)
  constexpr unsigned kBfloat16 = 1u << 22, kTiles = 1u << 24, kInt8 = 1u << 25;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & (kBfloat16 | kTiles | kInt8)) != (kBfloat16 | kTiles | kInt8)) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// Not every compiler that builds this knows the feature by name.
bool avx_vnni_runs() {
  constexpr unsigned kAvxVnni = 1u << 4;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kAvxVnni) != 0;
}

Instructions find_instructions() {
  const Instructions bound = upper_bound();
  const bool avx2_runs = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512_runs = avx2_runs && __builtin_cpu_supports("avx512f") &&
                           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                           __builtin_cpu_supports("avx512vl");
  if (bound >= Instructions::kAmx && avx512_runs && amx_runs()) return Instructions::kAmx;
  if (bound >= Instructions::kAvx512 && avx512_runs) return Instructions::kAvx512;
  if (bound >= Instructions::kAvxVnni && avx2_runs && avx_vnni_runs()) return Instructions::kAvxVnni;
  return bound >= Instructions::kAvx2 && avx2_runs ? Instructions::kAvx2 : Instructions::kPortable;
}

Instructions instructions() {
  static const Instructions found = find_instructions();
  return found;
}

const NarrowProduct* find_narrow_int8() {
  switch (instructions()) {
    case Instructions::kAmx:
      return &kAmxInt8;
    case Instructions::kAvx512:
      return __builtin_cpu_supports("avx512vnni") ? &kAvx512Int8 : &kAvx2Int8;
    case Instructions::kAvxVnni:
      return &kAvxVnniInt8;
    case Instructions::kAvx2:
      return &kAvx2Int8;
    case Instructions::kPortable:
      break;
  }
  return nullptr;
}

}  // namespace

const VectorCode& vector_code() {
  static const VectorCode& chosen = instructions() >= Instructions::kAvx512 ? avx512::code
                                    : instructions() >= Instructions::kAvx2 ? avx2::code
                                                                            : portable::code;
  return chosen;
}

const char* instructions_name() { return kNames[static_cast<size_t>(instructions())]; }

const NarrowProduct* narrow_product(Store store) {
  static const NarrowProduct* const int8 = find_narrow_int8();
  if (store == Store::kInt8) return int8;
  return store == Store::kBfloat16 && instructions() == Instructions::kAmx ? &kAmxBfloat16 : nullptr;
}
#else
const VectorCode& vector_code() { return portable::code; }

const char* instructions_name() { return "portable"; }

const NarrowProduct* narrow_product(Store) { return nullptr; }
#endif

}  // namespace hetc
