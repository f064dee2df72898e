// Products of small integers, for which some processors have instructions of their own.
#ifndef HETC_VECTOR_NARROW_PRODUCT_H_
#define HETC_VECTOR_NARROW_PRODUCT_H_

#include "vector/types.h"

namespace hetc {

// The product of codes that are integers in -127..127, exact in 8 bits and in bfloat16, with panels of one
// narrow store: what a processor has its own instructions for.
struct NarrowProduct {
  const char* name;
  size_t code_bytes;  // of one packed code
  size_t step;        // packed codes of a slice are padded with zeros to a multiple

  // packed[padded count] = codes in the type and order that `multiply` reads.
  void (*pack)(const float* codes, size_t count, void* packed);

  // sums[rows][kGroupColumns] = packed codes x panels. `depth` is a multiple of `step`: codes past the end of
  // the slice are 0, and the values they meet there are finite. `stride` is in bytes.
  void (*multiply)(const void* packed, size_t stride, size_t rows, const Panels& panels, size_t depth,
                   float* sums);
};

// Sums of products of 8-bit integers stay within 32 bits up to this many.
constexpr size_t kNarrowDepth = 131072;

// Nothing if `vector_code().multiply` is as fast.
const NarrowProduct* narrow_product(Store store);

}  // namespace hetc

#endif  // HETC_VECTOR_NARROW_PRODUCT_H_
