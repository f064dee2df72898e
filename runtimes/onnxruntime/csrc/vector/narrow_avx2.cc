// Narrow products on AVX2: bytes widened to pairs of 16 bits, which one instruction multiplies and adds.
#include <immintrin.h>

#include "vector/narrow_variants.h"

namespace hetc {
namespace {

constexpr size_t kTileRows = 6;
constexpr size_t kStep = 4;
constexpr size_t kCodeBytes = 2;

// Of every four codes the even ones come first: the shifts below widen every second byte.
void pack(const float* codes, size_t count, void* packed) {
  auto* target = static_cast<int16_t*>(packed);
  const size_t padded = (count + kStep - 1) / kStep * kStep;
  for (size_t i = 0; i < padded; ++i) {
    const size_t k = i / 4 * 4 + i % 2 * 2 + i % 4 / 2;
    target[i] = k < count ? static_cast<int16_t>(codes[k]) : int16_t{0};
  }
}

__m256i load(const signed char* source) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
}

__m256i broadcast(const int16_t* codes) {
  int32_t word;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm256_set1_epi32(word);
}

template <size_t kRows>
void multiply_tile(const int16_t* codes, size_t stride, const signed char* panel, size_t depth, float* sums) {
  __m256i sum[kRows][2];
#pragma GCC unroll 8
  for (size_t row = 0; row < kRows; ++row) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
  for (size_t k = 0; k < depth; k += kStep) {
    const __m256i left = load(panel + k * kPanelColumns), right = load(panel + k * kPanelColumns + 32);
    const __m256i even_left = _mm256_srai_epi16(_mm256_slli_epi16(left, 8), 8);
    const __m256i even_right = _mm256_srai_epi16(_mm256_slli_epi16(right, 8), 8);
#pragma GCC unroll 8
    for (size_t row = 0; row < kRows; ++row) {
      const __m256i code = broadcast(codes + row * stride + k);
      sum[row][0] = _mm256_add_epi32(sum[row][0], _mm256_madd_epi16(even_left, code));
      sum[row][1] = _mm256_add_epi32(sum[row][1], _mm256_madd_epi16(even_right, code));
    }
    const __m256i odd_left = _mm256_srai_epi16(left, 8), odd_right = _mm256_srai_epi16(right, 8);
#pragma GCC unroll 8
    for (size_t row = 0; row < kRows; ++row) {
      const __m256i code = broadcast(codes + row * stride + k + 2);
      sum[row][0] = _mm256_add_epi32(sum[row][0], _mm256_madd_epi16(odd_left, code));
      sum[row][1] = _mm256_add_epi32(sum[row][1], _mm256_madd_epi16(odd_right, code));
    }
  }
#pragma GCC unroll 8
  for (size_t row = 0; row < kRows; ++row) {
    _mm256_storeu_ps(sums + row * kGroupColumns, _mm256_cvtepi32_ps(sum[row][0]));
    _mm256_storeu_ps(sums + row * kGroupColumns + 8, _mm256_cvtepi32_ps(sum[row][1]));
  }
}

template <size_t kRows>
void multiply_rest(const int16_t* codes, size_t stride, size_t rows, const signed char* panel, size_t depth,
                   float* sums) {
  if (rows == kRows)
    multiply_tile<kRows>(codes, stride, panel, depth, sums);
  else if constexpr (kRows > 1)
    multiply_rest<kRows - 1>(codes, stride, rows, panel, depth, sums);
}

void multiply(const void* packed, size_t stride, size_t rows, const Panels& panels, size_t depth,
              float* sums) {
  const auto* codes = static_cast<const int16_t*>(packed);
  const size_t code_stride = stride / kCodeBytes;
  for (size_t panel = 0; panel < panels.count; ++panel) {
    const auto* data = static_cast<const signed char*>(panels.data) + panel * panels.stride;
    float* target = sums + panel * kPanelColumns;
    size_t row = 0;
    for (; row + kTileRows <= rows; row += kTileRows)
      multiply_tile<kTileRows>(codes + row * code_stride, code_stride, data, depth,
                               target + row * kGroupColumns);
    multiply_rest<kTileRows - 1>(codes + row * code_stride, code_stride, rows - row, data, depth,
                                 target + row * kGroupColumns);
  }
}

constexpr NarrowProduct product() {
  NarrowProduct product{};
  product.name = "avx2 int8";
  product.code_bytes = kCodeBytes;
  product.step = kStep;
  product.pack = pack;
  product.multiply = multiply;
  return product;
}

}  // namespace

constexpr NarrowProduct kAvx2Int8 = product();

}  // namespace hetc
