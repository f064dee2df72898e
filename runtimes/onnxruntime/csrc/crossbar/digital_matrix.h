// A clean weight matrix, or a part of one, that is multiplied digitally.
#ifndef HETC_CROSSBAR_DIGITAL_MATRIX_H_
#define HETC_CROSSBAR_DIGITAL_MATRIX_H_

#include <cstddef>
#include <memory>
#include <mutex>

#include "ort/kernel_context.h"
#include "vector/types.h"

namespace hetc {

// Rows that are stored one after another are read where they are. A part of every stored row would mean
// reading all of them, so it is packed at the first product.
class DigitalMatrix {
 public:
  explicit DigitalMatrix(const Weight& weight) : weight_(weight) {}

  // y[rows, columns] = x w in float32, or y + x w.
  void multiply(const KernelContext& context, const float* x, size_t rows, float* y, bool add = false);

 private:
  const Weight weight_;
  std::once_flag packs_;
  std::unique_ptr<unsigned char[]> packed_;
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_DIGITAL_MATRIX_H_
