// Ranges, bounds and scales: their shapes and values, checked.
#include "crossbar/scales.h"

#include <cmath>
#include <cstdint>
#include <optional>

#include "crossbar/slices.h"
#include "ort/status.h"

namespace hetc {
namespace {

// Constant float32 values that must be finite and not negative (or, if `positive`, above 0).
std::vector<float> read_scales(const Tensor& tensor, const std::string& name, bool positive) {
  if (tensor.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
    throw Error(name + " is " + type_name(tensor.type) + "; allowed: float32");
  const float* values = static_cast<const float*>(tensor.data);
  std::vector<float> scales(values, values + tensor.size());
  for (float value : scales)
    if (!std::isfinite(value) || value < 0 || (positive && value == 0))
      throw Error(name + " has the value " + std::to_string(value) + "; allowed: finite and " +
                  (positive ? "> 0" : ">= 0"));
  return scales;
}

}  // namespace

std::vector<float> read_input_range(const KernelInfo& info, size_t index, const std::string& name,
                                    size_t slices) {
  const std::optional<Tensor> tensor = info.constant(index, name);
  if (!tensor) return {};
  if (tensor->shape != std::vector<int64_t>{static_cast<int64_t>(slices)})
    throw Error(name + " has shape " + shape_text(tensor->shape) +
                "; allowed: " + shape_text({static_cast<int64_t>(slices)}) + ", one range per K-slice");
  return read_scales(*tensor, name, true);
}

std::vector<float> read_column_scales(const KernelInfo& info, size_t index, const std::string& name,
                                      size_t slices, const Weight& weight) {
  const std::optional<Tensor> tensor = info.constant(index, name);
  if (!tensor) return {};
  const size_t whole = weight.whole_columns, columns = weight.columns;
  const auto rows = static_cast<int64_t>(slices), wide = static_cast<int64_t>(whole);
  const bool per_column = tensor->shape == std::vector<int64_t>{rows, wide};
  if (!per_column && tensor->shape != std::vector<int64_t>{rows, 1})
    throw Error(name + " has shape " + shape_text(tensor->shape) + "; allowed: " + shape_text({rows, wide}) +
                " or " + shape_text({rows, 1}));
  const std::vector<float> values = read_scales(*tensor, name, false);
  std::vector<float> spread(slices * padded(columns));
  for (size_t s = 0; s < slices; ++s)
    for (size_t n = 0; n < columns; ++n)
      spread[s * padded(columns) + n] = values[per_column ? s * whole + number(weight.column_numbers, n) : s];
  return spread;
}

}  // namespace hetc
