// Programmed matrices: made once per process for equal contents, seed and settings, and shared.
#ifndef HETC_CROSSBAR_PROGRAMMED_H_
#define HETC_CROSSBAR_PROGRAMMED_H_

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "crossbar/device.h"
#include "crossbar/slices.h"
#include "ort/ort.h"
#include "vector/vector_code.h"

namespace hetc {

// Frees what was allocated at a cache line's start.
struct FreeLines {
  void operator()(unsigned char* lines) const { ::operator delete[](lines, std::align_val_t{kLineBytes}); }
};

struct ProgrammedMatrix {
  Store store;
  // Panels of stored weights, one after the other, each slice of a panel from row `begins[slice]`; see
  // Panels. kLineBytes of 0 for each of 16 rows follow the last one.
  std::unique_ptr<unsigned char[], FreeLines> panels;
  std::vector<size_t> begins;       // [slices + 1]; the last entry is the number of rows of a panel
  std::vector<float> alpha;         // [slices][padded columns], the weight scale
  std::vector<float> column_scale;  // likewise; stored value times this is the weight
  std::vector<float> largest;       // likewise; of the stored values' magnitudes
  std::vector<float> compensation;  // likewise; the digital factor against drift; empty: 1
};

struct ProgrammingRequest {
  std::string name;  // of the weight, for messages
  Weight weight;
  std::vector<Slice> slices;
  std::vector<float> weight_scale;  // [slices][padded columns]; empty: max|w| of the column slice
  Noise noise;
  Compensation compensation;
  size_t tile_columns;
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

#endif  // HETC_CROSSBAR_PROGRAMMED_H_
