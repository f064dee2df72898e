// The narrow product on processors without AVX-512, but with its dot products of bytes (AVX-VNNI).
#include <immintrin.h>

#include "vector/narrow.h"

namespace hetc {
namespace {

typedef int32_t Integers __attribute__((vector_size(32)));
typedef float Floats __attribute__((vector_size(32)));
constexpr size_t kTileRows = 6, kTilePanels = 1;

Integers dot(Integers sum, Integers weights, Integers codes) {
  return (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)weights, (__m256i)codes);
}

#include "vector/narrow_quads.inc"

}  // namespace

const NarrowProduct kAvxVnniInt8 = {"avxvnni int8", 1, kStep, pack_int8, multiply};

}  // namespace hetc
