// A clean weight matrix, or a part of one, that is multiplied digitally.
#ifndef HETC_CROSSBAR_DIGITAL_MATRIX_H_
#define HETC_CROSSBAR_DIGITAL_MATRIX_H_

#include <cstddef>
#include <mutex>
#include <vector>

#include "crossbar/programmed.h"
#include "crossbar/slices.h"
#include "ort/kernel_context.h"
#include "vector/types.h"

namespace hetc {

// Whole stored rows are read where they are. A part of every stored row would mean reading all of them, so it
// is copied at the first product.
class DigitalMatrix {
 public:
  explicit DigitalMatrix(const Weight& weight);

  // y[rows, columns] = x w in float32, or y + x w.
  void multiply(const KernelContext& context, const float* x, size_t rows, float* y, bool add = false);

 private:
  void copy(const KernelContext& context);

  const Weight weight_;
  const std::vector<Slice> slices_;
  const bool copies_;
  std::once_flag copied_;
  ProgrammedMatrix panels_;
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_DIGITAL_MATRIX_H_
