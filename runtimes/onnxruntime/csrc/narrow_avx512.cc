// The narrow product on AVX-512: dot products of quads of bytes. Those of pairs of bfloat16 are slower, on
// processors that have them, than what VectorCode does.
#include <immintrin.h>

#include "narrow.h"

namespace hetc {
namespace {

constexpr size_t kTileRows = 6;
constexpr size_t kStep = kLineBytes;

__m512i load(const void* source) { return _mm512_loadu_si512(source); }

__m512i broadcast(const unsigned char* codes) {
  int32_t word;
  __builtin_memcpy(&word, codes, sizeof word);
  return _mm512_set1_epi32(word);
}

// The instruction takes unsigned bytes on one side: those are the weights + 128.
__m512i weights_above_0(const unsigned char* panel) {
  return _mm512_xor_si512(load(panel), _mm512_set1_epi8(-128));
}

// What makes up for that: a sum starts at -128 times the sum of its codes.
__m512i start_of_sum(const unsigned char* codes, size_t depth) {
  __m512i sum = _mm512_setzero_si512();
  for (size_t k = 0; k < depth; k += kStep)
    sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), load(codes + k));
  return _mm512_set1_epi32(-128 * _mm512_reduce_add_epi32(sum));
}

template <size_t kRows, size_t kPanels>
void multiply_tile(const unsigned char* codes, size_t stride, const unsigned char* panels,
                   size_t panel_stride, size_t depth, float* sums) {
  __m512i sum[kRows][kPanels];
#pragma GCC unroll 8
  for (size_t row = 0; row < kRows; ++row) {
    const __m512i start = start_of_sum(codes + row * stride, depth);
#pragma GCC unroll 4
    for (size_t panel = 0; panel < kPanels; ++panel) sum[row][panel] = start;
  }
  for (size_t k = 0; k < depth; k += 4) {
    __m512i weights[kPanels];
#pragma GCC unroll 4
    for (size_t panel = 0; panel < kPanels; ++panel)
      weights[panel] = weights_above_0(panels + panel * panel_stride + k * kPanelColumns);
#pragma GCC unroll 8
    for (size_t row = 0; row < kRows; ++row) {
      const __m512i code = broadcast(codes + row * stride + k);
#pragma GCC unroll 4
      for (size_t panel = 0; panel < kPanels; ++panel)
        sum[row][panel] = _mm512_dpbusd_epi32(sum[row][panel], weights[panel], code);
    }
  }
#pragma GCC unroll 8
  for (size_t row = 0; row < kRows; ++row)
#pragma GCC unroll 4
    for (size_t panel = 0; panel < kPanels; ++panel)
      _mm512_storeu_ps(sums + row * kGroupColumns + panel * kPanelColumns,
                       _mm512_cvtepi32_ps(sum[row][panel]));
}

template <size_t kRows>
void multiply_rows(const unsigned char* codes, size_t stride, const unsigned char* panels,
                   size_t panel_stride, size_t panel_count, size_t depth, float* sums) {
  if (panel_count == kGroupPanels)
    return multiply_tile<kRows, kGroupPanels>(codes, stride, panels, panel_stride, depth, sums);
  for (size_t panel = 0; panel < panel_count; ++panel)
    multiply_tile<kRows, 1>(codes, stride, panels + panel * panel_stride, panel_stride, depth,
                            sums + panel * kPanelColumns);
}

template <size_t kRows>
void multiply_rest(const unsigned char* codes, size_t stride, size_t rows, const unsigned char* panels,
                   size_t panel_stride, size_t panel_count, size_t depth, float* sums) {
  if (rows == kRows)
    multiply_rows<kRows>(codes, stride, panels, panel_stride, panel_count, depth, sums);
  else if constexpr (kRows > 1)
    multiply_rest<kRows - 1>(codes, stride, rows, panels, panel_stride, panel_count, depth, sums);
}

void multiply(const void* packed, size_t stride, size_t rows, const Panels& panels, size_t depth,
              float* sums) {
  const auto* codes = static_cast<const unsigned char*>(packed);
  const auto* data = static_cast<const unsigned char*>(panels.data);
  size_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows)
    multiply_rows<kTileRows>(codes + row * stride, stride, data, panels.stride, panels.count, depth,
                             sums + row * kGroupColumns);
  multiply_rest<kTileRows - 1>(codes + row * stride, stride, rows - row, data, panels.stride, panels.count,
                               depth, sums + row * kGroupColumns);
}

}  // namespace

const NarrowProduct kAvx512Int8 = {"avx512 int8", 1, kStep, pack_int8, multiply};

}  // namespace hetc
