// The blocked product that every matrix goes through: groups of 64 columns, chunks of rows, slices of inputs.
#ifndef HETC_CROSSBAR_PRODUCT_H_
#define HETC_CROSSBAR_PRODUCT_H_

#include <functional>
#include <vector>

#include "crossbar/programmed.h"
#include "crossbar/slices.h"
#include "ort/ort.h"

namespace hetc {

// Receives the sums [rows, kGroupColumns] of slice `slice` for rows from `row` and columns from `column`;
// slices of one block arrive in order.
using TakeSums = std::function<void(size_t slice, size_t row, size_t rows, size_t column, size_t columns,
                                    const float* sums)>;

// Multiplies codes [rows, weight.rows] with the programmed panels or, if there are none, with the clean
// weights, which are converted block by block and never copied as a whole. `small_codes`: they are integers
// in -127..127.
void multiply_slices(const KernelContext& context, const Weight& weight, const ProgrammedMatrix* programmed,
                     const std::vector<Slice>& slices, const float* codes, size_t rows, bool small_codes,
                     const TakeSums& take);

// The same with any values and the magnitudes of the weights.
void multiply_magnitudes(const KernelContext& context, const Weight& weight,
                         const ProgrammedMatrix* programmed, const std::vector<Slice>& slices,
                         const float* values, size_t rows, const TakeSums& take);

}  // namespace hetc

#endif  // HETC_CROSSBAR_PRODUCT_H_
