// A clean weight matrix: read from a node, and the largest magnitudes of its column slices.
#ifndef HETC_CROSSBAR_WEIGHT_H_
#define HETC_CROSSBAR_WEIGHT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "crossbar/slices.h"
#include "ort/kernel_context.h"
#include "ort/kernel_info.h"
#include "ort/status.h"
#include "vector/types.h"

namespace hetc {

// Checks a weight input: constant, of rank 2, of an allowed type.
Weight read_weight(const KernelInfo& info, size_t index, const std::string& name, bool transposed);

// The slices that a matrix, or a part of one, has of those of the whole, which are balanced. One without rows
// is empty.
std::vector<Slice> split_rows(const Weight& weight, size_t tile_rows);
std::vector<Slice> split_columns(const Weight& weight, size_t tile_columns);

// max|w| of every column slice, [slices][padded columns]. `name` is for the message.
std::vector<float> column_maxima(const KernelContext& context, const std::string& name, const Weight& weight,
                                 const std::vector<Slice>& slices);

// What is thrown for a weight that can't be programmed, in the panel that starts at `column`.
Error not_finite(const std::string& name, size_t column);

}  // namespace hetc

#endif  // HETC_CROSSBAR_WEIGHT_H_
