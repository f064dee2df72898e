// Programming: a clean matrix becomes the conductances of its crossbars.
#ifndef HETC_CROSSBAR_PROGRAMMING_H_
#define HETC_CROSSBAR_PROGRAMMING_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "crossbar/device.h"
#include "crossbar/programmed.h"
#include "crossbar/slices.h"
#include "ort/kernel_context.h"
#include "vector/types.h"

namespace hetc {

struct ProgrammingRequest {
  std::string name;  // of the weight, for messages
  Weight weight;
  std::vector<Slice> slices;
  std::vector<float> weight_scale;  // [slices][padded columns]; empty: max|w| of the column slice
  Noise noise;
  Compensation compensation;
  std::vector<Slice> tiles;  // of columns
  Store store;
};

// Throws Error for weights that are NaN or infinite.
std::unique_ptr<const ProgrammedMatrix> program(const KernelContext& context,
                                                const ProgrammingRequest& request);

}  // namespace hetc

#endif  // HETC_CROSSBAR_PROGRAMMING_H_
