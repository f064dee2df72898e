#include "vector_code.h"

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

const VectorCode& vector_code() {
  static const VectorCode& chosen = [&]() -> const VectorCode& {
    const bool avx2_runs = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2_runs && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      return avx512::code;
    return avx2_runs ? avx2::code : portable::code;
  }();
  return chosen;
}
#else
const VectorCode& vector_code() { return portable::code; }
#endif

}  // namespace hetc
