// Programmed matrices: made once per process for equal contents, seed and settings, and shared.
#ifndef HETC_PROGRAMMED_H_
#define HETC_PROGRAMMED_H_

#include <memory>
#include <string>
#include <vector>

#include "ort.h"
#include "slices.h"
#include "vector_code.h"

namespace hetc {

struct ProgrammedMatrix {
  Store store;
  std::unique_ptr<unsigned char[]> panels;  // [panels][rows][16] in the store's type
  std::vector<float> alpha;                 // [slices][padded columns], the weight scale
  std::vector<float> column_scale;          // likewise; stored value times this is the weight
};

struct ProgrammingRequest {
  std::string name;  // of the weight, for messages
  Weight weight;
  std::vector<Slice> slices;
  std::vector<float> weight_scale;  // [slices][padded columns]; empty: max|w| of the column slice
  Noise noise;
  Store store;
};

// The programmed copy of a matrix: an existing one if some session holds it, else programmed now on this
// session's threads. Throws Error for weights that are NaN or infinite.
std::shared_ptr<const ProgrammedMatrix> programmed_matrix(const KernelContext& context,
                                                          const ProgrammingRequest& request);

// max|w| of every column slice, [slices][padded columns].
std::vector<float> column_maxima(const KernelContext& context, const std::string& name, const Weight& weight,
                                 const std::vector<Slice>& slices);

size_t element_bytes(Store store);

}  // namespace hetc

#endif  // HETC_PROGRAMMED_H_
