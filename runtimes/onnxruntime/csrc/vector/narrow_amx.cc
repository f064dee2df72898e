// Narrow products on Intel's AMX: tiles of 16 rows of codes, and of 16 columns of a panel, 64 bytes deep.
#include <immintrin.h>

#include "vector/narrow_variants.h"

namespace hetc {
namespace {

constexpr size_t kTileRows = 16;
constexpr size_t kSumBytes = kGroupColumns * sizeof(float);

// Tiles 0..3: sums of (row tile, panel); 4, 5: codes; 6, 7: panels. Loading a configuration clears all tiles.
struct alignas(kLineBytes) Configuration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};

  Configuration(size_t first_rows, size_t second_rows) {
    for (int tile = 0; tile < 8; ++tile) {
      const bool of_second = tile == 2 || tile == 3 || tile == 5;
      column_bytes[tile] = of_second && second_rows == 0 ? 0 : kLineBytes;
      rows[tile] = static_cast<uint8_t>(tile >= 6 ? kTileRows : of_second ? second_rows : first_rows);
    }
  }
};

// One or two tiles of rows times one or two panels.
template <bool kIntegers, bool kTwoRows, bool kTwoPanels>
void multiply_tiles(const unsigned char* codes, size_t stride, const unsigned char* panels,
                    size_t panel_stride, size_t depth_bytes, float* sums) {
  _tile_zero(0);
  if constexpr (kTwoPanels) _tile_zero(1);
  if constexpr (kTwoRows) _tile_zero(2);
  if constexpr (kTwoRows && kTwoPanels) _tile_zero(3);
  for (size_t k = 0; k < depth_bytes; k += kLineBytes) {
    _tile_loadd(4, codes + k, stride);
    _tile_loadd(6, panels + k * kTileRows, kLineBytes);
    if constexpr (kTwoRows) _tile_loadd(5, codes + kTileRows * stride + k, stride);
    if constexpr (kTwoPanels) _tile_loadd(7, panels + panel_stride + k * kTileRows, kLineBytes);
    if constexpr (kIntegers) {
      _tile_dpbssd(0, 4, 6);
      if constexpr (kTwoPanels) _tile_dpbssd(1, 4, 7);
      if constexpr (kTwoRows) _tile_dpbssd(2, 5, 6);
      if constexpr (kTwoRows && kTwoPanels) _tile_dpbssd(3, 5, 7);
    } else {
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kTwoPanels) _tile_dpbf16ps(1, 4, 7);
      if constexpr (kTwoRows) _tile_dpbf16ps(2, 5, 6);
      if constexpr (kTwoRows && kTwoPanels) _tile_dpbf16ps(3, 5, 7);
    }
  }
  float* second = sums + kTileRows * kGroupColumns;
  _tile_stored(0, sums, kSumBytes);
  if constexpr (kTwoPanels) _tile_stored(1, sums + kPanelColumns, kSumBytes);
  if constexpr (kTwoRows) _tile_stored(2, second, kSumBytes);
  if constexpr (kTwoRows && kTwoPanels) _tile_stored(3, second + kPanelColumns, kSumBytes);
}

template <bool kIntegers, bool kTwoRows>
void multiply_row_tiles(const unsigned char* codes, size_t stride, const Panels& panels, size_t depth_bytes,
                        float* sums) {
  const auto* data = static_cast<const unsigned char*>(panels.data);
  const size_t panel_stride = panels.stride * (kIntegers ? 1 : 2);
  size_t panel = 0;
  for (; panel + 2 <= panels.count; panel += 2)
    multiply_tiles<kIntegers, kTwoRows, true>(codes, stride, data + panel * panel_stride, panel_stride,
                                              depth_bytes, sums + panel * kPanelColumns);
  if (panel < panels.count)
    multiply_tiles<kIntegers, kTwoRows, false>(codes, stride, data + panel * panel_stride, panel_stride,
                                               depth_bytes, sums + panel * kPanelColumns);
}

template <bool kIntegers>
void multiply(const void* packed, size_t stride, size_t rows, const Panels& panels, size_t depth,
              float* sums) {
  const auto* codes = static_cast<const unsigned char*>(packed);
  const size_t depth_bytes = depth * (kIntegers ? 1 : 2);
  size_t configured = 0;
  for (size_t row = 0; row < rows; row += 2 * kTileRows) {
    const size_t left = rows - row < 2 * kTileRows ? rows - row : 2 * kTileRows;
    const size_t first = left < kTileRows ? left : kTileRows;
    if (left != configured) {
      const Configuration configuration(first, left - first);
      // The intrinsic tells the compiler about a part of what it reads only.
      asm volatile("" : : "r"(&configuration) : "memory");
      _tile_loadconfig(&configuration);
      configured = left;
    }
    const unsigned char* source = codes + row * stride;
    float* target = sums + row * kGroupColumns;
    if (left > kTileRows) {
      multiply_row_tiles<kIntegers, true>(source, stride, panels, depth_bytes, target);
    } else {
      multiply_row_tiles<kIntegers, false>(source, stride, panels, depth_bytes, target);
    }
  }
  _tile_release();
  if constexpr (kIntegers) integers_to_floats(sums, rows * kGroupColumns);
}

template <bool kIntegers>
constexpr NarrowProduct product(const char* name) {
  NarrowProduct product{};
  product.name = name;
  product.code_bytes = kIntegers ? 1 : 2;
  product.step = kLineBytes / product.code_bytes;
  product.pack = kIntegers ? pack_int8 : pack_bfloat16;
  product.multiply = multiply<kIntegers>;
  return product;
}

}  // namespace

constexpr NarrowProduct kAmxBfloat16 = product<false>("amx bfloat16");
constexpr NarrowProduct kAmxInt8 = product<true>("amx int8");

}  // namespace hetc
