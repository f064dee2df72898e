// Weights in the form in which products read them: what crossbars hold once a matrix is programmed.
#ifndef HETC_CROSSBAR_PROGRAMMED_H_
#define HETC_CROSSBAR_PROGRAMMED_H_

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "crossbar/slices.h"
#include "vector/types.h"

namespace hetc {

// Frees what was allocated at a cache line's start.
struct FreeLines {
  void operator()(unsigned char* lines) const { ::operator delete[](lines, std::align_val_t{kLineBytes}); }
};

// A copy of clean weights in the same form has no more than panels.
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

  // Makes room for the panels of a matrix with so many columns.
  void reserve(Store of, const std::vector<Slice>& slices, size_t columns);

  // Where a slice of a panel begins.
  unsigned char* at(size_t panel, size_t slice);
};

constexpr size_t element_bytes(Store store) {
  return store == Store::kFloat32 ? 4 : store == Store::kBfloat16 ? 2 : 1;
}

}  // namespace hetc

#endif  // HETC_CROSSBAR_PROGRAMMED_H_
