// The narrow products, one source file per instruction set, and what these files share.
// Each is compiled with its own flags, so nothing of the C++ library may be instantiated here: the linker
// could keep that copy for every processor. For the same reason the tables are constant expressions.
#ifndef HETC_VECTOR_NARROW_VARIANTS_H_
#define HETC_VECTOR_NARROW_VARIANTS_H_

#include "vector/narrow_product.h"

namespace hetc {

extern const NarrowProduct kAmxBfloat16, kAmxInt8, kAvx512Int8, kAvxVnniInt8, kAvx2Int8;

namespace {

[[maybe_unused]] inline void integers_to_floats(float* sums, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    int32_t value;
    __builtin_memcpy(&value, sums + i, sizeof value);
    sums[i] = static_cast<float>(value);
  }
}

// Small integers need no rounding: the upper half of the float32 holds them.
[[maybe_unused]] void pack_bfloat16(const float* codes, size_t count, void* packed) {
  auto* target = static_cast<uint16_t*>(packed);
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, codes + i, sizeof bits);
    target[i] = static_cast<uint16_t>(bits >> 16);
  }
  for (size_t i = count; i % 32 != 0; ++i) target[i] = 0;
}

[[maybe_unused]] void pack_int8(const float* codes, size_t count, void* packed) {
  auto* target = static_cast<int8_t*>(packed);
  for (size_t i = 0; i < count; ++i) target[i] = static_cast<int8_t>(static_cast<int32_t>(codes[i]));
  for (size_t i = count; i % 64 != 0; ++i) target[i] = 0;
}

}  // namespace
}  // namespace hetc

#endif  // HETC_VECTOR_NARROW_VARIANTS_H_
