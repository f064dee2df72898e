// The narrow product on AVX-512. Its dot products of pairs of bfloat16 are slower, on processors that have
// them, than what VectorCode does.
#include <immintrin.h>

#include "vector/narrow_variants.h"

namespace hetc {
namespace {

constexpr size_t kRegisterBytes = 64, kTilePanels = 4;

#include "vector/narrow_quads.inc"

Integers dot(Integers sum, Integers weights, Integers codes) {
  return (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, (__m512i)codes);
}

}  // namespace

constexpr NarrowProduct kAvx512Int8 = quad_product("avx512 int8");

}  // namespace hetc
