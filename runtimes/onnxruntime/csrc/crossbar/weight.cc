// Clean weights, where ONNX Runtime keeps them.
#include "crossbar/weight.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "vector/vector_code.h"

namespace hetc {
namespace {

// What `count` numbers have of the slices of all.
std::vector<Slice> parts(std::vector<Slice> slices, const uint32_t* numbers, size_t count) {
  if (numbers == nullptr) return slices;
  const auto place = [=](size_t first) {
    return static_cast<size_t>(std::lower_bound(numbers, numbers + count, first) - numbers);
  };
  for (Slice& slice : slices) slice = {place(slice.begin), place(slice.end)};
  return slices;
}

}  // namespace

Weight read_weight(const KernelInfo& info, size_t index, const std::string& name, bool transposed) {
  const std::optional<Tensor> tensor = info.constant(index, name);
  if (!tensor) throw Error(name + " is missing");
  const ElementType type = element_type(tensor->type, name);
  if (tensor->shape.size() != 2 || tensor->shape[0] < 1 || tensor->shape[1] < 1)
    throw Error(name + " has shape " + shape_text(tensor->shape) + "; allowed: two dimensions of at least 1");
  const auto first = static_cast<size_t>(tensor->shape[0]), second = static_cast<size_t>(tensor->shape[1]);
  Weight weight{};
  weight.data = tensor->data;
  weight.type = type;
  weight.rows = transposed ? second : first;
  weight.columns = transposed ? first : second;
  weight.transposed = transposed;
  weight.whole_rows = weight.rows;
  weight.whole_columns = weight.columns;
  return weight;
}

std::vector<Slice> split_rows(const Weight& weight, size_t tile_rows) {
  return parts(split(weight.whole_rows, tile_rows), weight.row_numbers, weight.rows);
}

std::vector<Slice> split_columns(const Weight& weight, size_t tile_columns) {
  return parts(split(weight.whole_columns, tile_columns), weight.column_numbers, weight.columns);
}

std::vector<float> column_maxima(const KernelContext& context, const std::string& name, const Weight& weight,
                                 const std::vector<Slice>& slices) {
  std::vector<float> maxima(slices.size() * padded(weight.columns));
  context.parallel_for(panel_count(weight.columns), [&](size_t panel) {
    constexpr size_t kRows = 256;
    float block[kRows * kPanelColumns];
    const size_t column = panel * kPanelColumns;
    for (size_t s = 0; s < slices.size(); ++s) {
      for (size_t row = slices[s].begin; row < slices[s].end; row += kRows) {
        const size_t rows = std::min(kRows, slices[s].end - row);
        vector_code().load_block(weight, row, rows, column, block);
        float* target = maxima.data() + s * padded(weight.columns) + column;
        if (!vector_code().column_maxima(block, rows, target)) throw not_finite(name, column);
      }
    }
  });
  return maxima;
}

Error not_finite(const std::string& name, size_t column) {
  return Error("weight '" + name + "' has NaN or infinity in the panel of output " + std::to_string(column));
}

}  // namespace hetc
