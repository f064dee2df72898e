// The narrow product on processors without AVX-512, but with its dot products of bytes (AVX-VNNI).
#include <immintrin.h>

#include "vector/narrow_variants.h"

namespace hetc {
namespace {

constexpr size_t kRegisterBytes = 32, kTilePanels = 1;

#include "vector/narrow_quads.inc"

Integers dot(Integers sum, Integers weights, Integers codes) {
  return (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)weights, (__m256i)codes);
}

}  // namespace

constexpr NarrowProduct kAvxVnniInt8 = quad_product("avxvnni int8");

}  // namespace hetc
