// The constant inputs that fix converters: input ranges, ADC bounds, weight scales.
#ifndef HETC_CROSSBAR_SCALES_H_
#define HETC_CROSSBAR_SCALES_H_

#include <cstddef>
#include <string>
#include <vector>

#include "ort/kernel_info.h"
#include "vector/types.h"

namespace hetc {

// An optional [slices] input, a range per K-slice; empty if the node leaves it out.
std::vector<float> read_input_range(const KernelInfo& info, size_t index, const std::string& name,
                                    size_t slices);

// An optional [slices, columns of the whole matrix] or [slices, 1] input, spread over [slices, padded
// columns] of the weight; empty likewise.
std::vector<float> read_column_scales(const KernelInfo& info, size_t index, const std::string& name,
                                      size_t slices, const Weight& weight);

}  // namespace hetc

#endif  // HETC_CROSSBAR_SCALES_H_
