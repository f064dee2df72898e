// The DAC: vectors become codes and ranges, slice by slice.
#ifndef HETC_CROSSBAR_CODES_H_
#define HETC_CROSSBAR_CODES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "crossbar/settings.h"
#include "crossbar/slices.h"
#include "ort/kernel_context.h"

namespace hetc {

// Leaves the elements of a new vector as they are: the DAC writes every one of them.
struct UninitialisedFloats : std::allocator<float> {
  template <typename Other>
  struct rebind {
    using other = UninitialisedFloats;
  };
  template <typename Element>
  void construct(Element* element) {
    ::new (static_cast<void*>(element)) Element;
  }
  template <typename Element, typename... Arguments>
  void construct(Element* element, Arguments&&... arguments) {
    ::new (static_cast<void*>(element)) Element(std::forward<Arguments>(arguments)...);
  }
};

// The DAC in front of the matrices that read the same vectors.
struct Dac {
  size_t inputs;
  std::vector<Slice> slices;
  const uint32_t* numbers;         // of the inputs, if they are a part (see Weight)
  std::vector<float> input_range;  // per slice; empty: the largest of each vector's slice
  uint32_t stream;                 // of the matrix that the DAC belongs to
};

// What the DAC makes of [rows, inputs] vectors.
struct Codes {
  const float* x;  // the vectors themselves
  size_t rows;
  size_t inputs;
  std::vector<Slice> slices;
  const uint32_t* numbers;                         // of the inputs, if they are a part
  uint32_t stream;                                 // the DAC's
  bool small;                                      // the values are integers in -127..127
  std::vector<float, UninitialisedFloats> values;  // [rows, inputs]
  std::vector<float> ranges;                       // [rows, slices]; 0: the slice is off
  std::vector<unsigned char> spoiled;              // [rows]; 1: a value was NaN or infinite
};

Codes convert(const KernelContext& context, const Settings& settings, const Dac& dac, const float* x,
              size_t rows);

// Converts slice `index` of one row again; `range` 0 is the largest of the slice.
void convert_slice(const Settings& settings, size_t row, size_t index, float range, Codes* codes);

}  // namespace hetc

#endif  // HETC_CROSSBAR_CODES_H_
