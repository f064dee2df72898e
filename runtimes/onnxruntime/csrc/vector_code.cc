#include "vector_code.h"

#include <cstdlib>
#include <string>

#if defined(HETC_X86_64)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "narrow.h"
#endif

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

enum class Instructions { kPortable, kAvx2, kAvx512, kAmx };

// The most that the environment allows; a name that is not known allows everything.
Instructions upper_bound() {
  const char* variable = std::getenv("HETC_INSTRUCTIONS");
  const std::string name = variable == nullptr ? "" : variable;
  if (name == "portable") return Instructions::kPortable;
  if (name == "avx2") return Instructions::kAvx2;
  if (name == "avx512") return Instructions::kAvx512;
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

Instructions find_instructions() {
  const Instructions bound = upper_bound();
  const bool avx2_runs = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512_runs = avx2_runs && __builtin_cpu_supports("avx512f") &&
                           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                           __builtin_cpu_supports("avx512vl");
  if (bound >= Instructions::kAmx && avx512_runs && amx_runs()) return Instructions::kAmx;
  if (bound >= Instructions::kAvx512 && avx512_runs) return Instructions::kAvx512;
  return bound >= Instructions::kAvx2 && avx2_runs ? Instructions::kAvx2 : Instructions::kPortable;
}

Instructions instructions() {
  static const Instructions found = find_instructions();
  return found;
}

const NarrowProduct* find_narrow(bool integers) {
  if (instructions() == Instructions::kAmx) return integers ? &kAmxInt8 : &kAmxBfloat16;
  if (!integers || instructions() < Instructions::kAvx2) return nullptr;
  const bool dot_products = instructions() == Instructions::kAvx512 && __builtin_cpu_supports("avx512vnni");
  return dot_products ? &kAvx512Int8 : &kAvx2Int8;
}

}  // namespace

const VectorCode& vector_code() {
  static const VectorCode& chosen = instructions() >= Instructions::kAvx512 ? avx512::code
                                    : instructions() == Instructions::kAvx2 ? avx2::code
                                                                            : portable::code;
  return chosen;
}

const NarrowProduct* narrow_product(Store store) {
  static const NarrowProduct *const bfloat16 = find_narrow(false), *const int8 = find_narrow(true);
  return store == Store::kBfloat16 ? bfloat16 : store == Store::kInt8 ? int8 : nullptr;
}
#else
const VectorCode& vector_code() { return portable::code; }

const NarrowProduct* narrow_product(Store) { return nullptr; }
#endif

}  // namespace hetc
