// The balanced split of a matrix's inputs over crossbar tiles.
#ifndef HETC_CROSSBAR_SLICES_H_
#define HETC_CROSSBAR_SLICES_H_

#include <cstddef>
#include <vector>

#include "vector/types.h"

namespace hetc {

struct Slice {
  size_t begin;
  size_t end;
};

// ceil(rows / tile_rows) slices; the first ones are one row longer where the split is uneven.
inline std::vector<Slice> split(size_t rows, size_t tile_rows) {
  const size_t count = rows / tile_rows + (rows % tile_rows != 0);
  std::vector<Slice> slices;
  if (count == 0) return slices;
  const size_t base = rows / count, extra = rows % count;
  for (size_t i = 0, begin = 0; i < count; ++i) {
    const size_t end = begin + base + (i < extra);
    slices.push_back({begin, end});
    begin = end;
  }
  return slices;
}

inline size_t panel_count(size_t columns) { return (columns + kPanelColumns - 1) / kPanelColumns; }

// Per-column tables have one entry for every column of every panel.
inline size_t padded(size_t columns) { return panel_count(columns) * kPanelColumns; }

}  // namespace hetc

#endif  // HETC_CROSSBAR_SLICES_H_
