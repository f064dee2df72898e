// Programmed matrices, shared in the process.
#ifndef HETC_CROSSBAR_PROGRAMMED_CACHE_H_
#define HETC_CROSSBAR_PROGRAMMED_CACHE_H_

#include <cstdint>
#include <memory>

#include "crossbar/programming.h"
#include "ort/kernel_context.h"

namespace hetc {

// The programmed copy of a matrix: an existing one if some session holds it, else programmed now on this
// session's threads. Throws Error for weights that are NaN or infinite.
std::shared_ptr<const ProgrammedMatrix> programmed_matrix(const KernelContext& context,
                                                          const ProgrammingRequest& request);

// How many matrices this process has programmed.
uint64_t count_programmings();

}  // namespace hetc

#endif  // HETC_CROSSBAR_PROGRAMMED_CACHE_H_
