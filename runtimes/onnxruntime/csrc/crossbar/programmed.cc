// Room for stored weights.
#include "crossbar/programmed.h"

#include <algorithm>

namespace hetc {

void ProgrammedMatrix::reserve(Store of, const std::vector<Slice>& slices, size_t columns) {
  store = of;
  const size_t side = rows_side_by_side(store);
  begins.assign(1, 0);
  begins.reserve(slices.size() + 1);
  for (const auto [begin, end] : slices)
    begins.push_back(begins.back() + (end - begin + side - 1) / side * side);
  const size_t bytes = padded(columns) * begins.back() * element_bytes(store);
  panels.reset(new (std::align_val_t{kLineBytes}) unsigned char[bytes + 16 * kLineBytes]);
  std::fill_n(panels.get() + bytes, 16 * kLineBytes, static_cast<unsigned char>(0));
}

unsigned char* ProgrammedMatrix::at(size_t panel, size_t slice) {
  const size_t rows = panel * begins.back() + begins[slice];
  return panels.get() + rows * kPanelColumns * element_bytes(store);
}

}  // namespace hetc
