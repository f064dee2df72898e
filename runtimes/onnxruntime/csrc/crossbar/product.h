// The blocked product that every matrix goes through: groups of 64 columns, chunks of rows, slices of inputs.
#ifndef HETC_CROSSBAR_PRODUCT_H_
#define HETC_CROSSBAR_PRODUCT_H_

#include <cstddef>
#include <functional>
#include <vector>

#include "crossbar/programmed.h"
#include "crossbar/slices.h"
#include "ort/kernel_context.h"
#include "vector/types.h"

namespace hetc {

// A matrix as products read it. Without programmed panels the clean weights count; they are converted block
// by block and never copied as a whole.
struct MatrixView {
  const Weight& weight;
  const std::vector<Slice>& slices;
  const ProgrammedMatrix* programmed;  // may be null
};

// What is multiplied with a matrix, [rows, weight.rows].
struct InputView {
  const float* values;
  size_t rows;
  bool small;  // integers in -127..127
};

// A part of the result that one thread makes: rows of vectors, and the columns of one group.
struct Block {
  size_t row, rows;
  size_t column, columns;
};

// Receives sums[rows][kGroupColumns] of one slice, and may change them; the slices of a block arrive in
// order.
using TakeSums = std::function<void(size_t slice, const Block& block, float* sums)>;

void multiply_slices(const KernelContext& context, const MatrixView& matrix, const InputView& input,
                     const TakeSums& take);

// The same with the magnitudes of the weights.
void multiply_magnitudes(const KernelContext& context, const MatrixView& matrix, const InputView& input,
                         const TakeSums& take);

// y[rows, columns] = x w in float32, or y + x w: the sum is whole before it is added.
void multiply_exact(const KernelContext& context, const Weight& weight, const float* x, size_t rows,
                    float* y);
void multiply_exact(const KernelContext& context, const MatrixView& matrix, const float* x, size_t rows,
                    float* y, bool add);

// The slices whose sums an exact product adds up: a single chain over all inputs would lose digits that a
// blocked product keeps.
std::vector<Slice> partial_sums(const Weight& weight);

}  // namespace hetc

#endif  // HETC_CROSSBAR_PRODUCT_H_
