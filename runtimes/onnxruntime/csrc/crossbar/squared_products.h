// sum_k |W| q^2, of which PCM read noise is the root: from weights of 7 bits.
#ifndef HETC_CROSSBAR_SQUARED_PRODUCTS_H_
#define HETC_CROSSBAR_SQUARED_PRODUCTS_H_

#include <cstddef>
#include <vector>

#include "crossbar/codes.h"
#include "crossbar/product.h"
#include "ort/kernel_context.h"
#include "vector/narrow_product.h"

namespace hetc {

// The products of |W|, rounded to 127 levels of the largest of its column slice, with the squares of some
// codes. Made group by group out of what the product of W itself has just read, so that no weight is stored
// or fetched twice.
class SquaredProducts {
 public:
  // `largest`: of the column slices, in stored values or clean weights.
  SquaredProducts(const KernelContext& context, const MatrixView& matrix, const std::vector<float>& largest,
                  const Codes& codes);

  // sums[rows][kGroupColumns] = sum |W| q^2 / alpha of one slice; 0 where alpha is.
  void multiply(size_t slice, const Block& block, const float* alpha, float* sums) const;

 private:
  // A stretch of a slice whose sums of integers a float32 holds exactly.
  struct Part {
    size_t begin, end;  // rows of the matrix
    size_t offset;      // bytes in a row of packed codes
  };
  Panels magnitudes(size_t slice, const Part& part, const Block& block) const;

  const MatrixView matrix_;
  const std::vector<float>& largest_;
  const NarrowProduct* narrow_;           // null: squares_ are multiplied as they are
  std::vector<std::vector<Part>> parts_;  // per slice
  size_t stride_ = 0;                     // bytes of a row of packed codes
  std::vector<unsigned char> packed_;     // [rows][2][stride], the digits of q^2 = 128 high + low
  std::vector<float> squares_;            // [rows, inputs]
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_SQUARED_PRODUCTS_H_
