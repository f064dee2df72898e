// The narrow product on AVX-512. Dot products of pairs of bfloat16 are slower, on processors that have them,
// than what VectorCode does.
#include <immintrin.h>

#include "vector/narrow.h"

namespace hetc {
namespace {

// With the compiler's own __m512i, an array of sums would live in memory.
typedef int32_t Integers __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));
constexpr size_t kTileRows = 6, kTilePanels = 4;

Integers dot(Integers sum, Integers weights, Integers codes) {
  return (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, (__m512i)codes);
}

#include "vector/narrow_quads.inc"

}  // namespace

const NarrowProduct kAvx512Int8 = {"avx512 int8", 1, kStep, pack_int8, multiply};

}  // namespace hetc
