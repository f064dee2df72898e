// x becomes float32 where it is not, and y its type again.
#include "operators/float_kernel.h"

#include <cstdint>
#include <string>
#include <vector>

#include "ort/status.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

size_t rows_of(const Tensor& x, size_t inputs) {
  if (x.shape.empty() || x.shape.back() != static_cast<int64_t>(inputs))
    throw Error("x has shape " + shape_text(x.shape) + "; allowed: [..., " + std::to_string(inputs) + "]");
  return x.size() / inputs;
}

}  // namespace

void FloatKernel::compute(const KernelContext& context) {
  const Tensor x = context.input(0);
  const ElementType type = element_type(x.type, "x");
  const size_t rows = rows_of(x, inputs());
  std::vector<int64_t> shape = x.shape;
  shape.back() = static_cast<int64_t>(outputs());
  void* y = context.output(0, shape);
  if (rows == 0) return;
  if (type == ElementType::kFloat32)
    return compute_rows(context, static_cast<const float*>(x.data), rows, static_cast<float*>(y));
  std::vector<float> wide_x(rows * inputs()), wide_y(rows * outputs());
  vector_code().to_float(type, x.data, wide_x.size(), wide_x.data());
  compute_rows(context, wide_x.data(), rows, wide_y.data());
  vector_code().from_float(type, wide_y.data(), wide_y.size(), y);
}

}  // namespace hetc
