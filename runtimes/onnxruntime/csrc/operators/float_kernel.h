// Kernels whose x and y have one of three types outside and are float32 inside.
#ifndef HETC_OPERATORS_FLOAT_KERNEL_H_
#define HETC_OPERATORS_FLOAT_KERNEL_H_

#include <cstddef>
#include <memory>

#include "ort/kernel_context.h"
#include "ort/kernel_info.h"
#include "ort/operator.h"
#include "ort/tensor.h"

namespace hetc {

class FloatKernel : public Kernel {
 public:
  // Throws Error unless x has at least one dimension and the last one is `inputs`.
  void compute(const KernelContext& context) final;

 private:
  // The last dimensions of x and y.
  virtual size_t inputs() const = 0;
  virtual size_t outputs() const = 0;

  // y[rows, outputs] from x[rows, inputs], with at least one row.
  virtual void compute_rows(const KernelContext& context, const float* x, size_t rows, float* y) = 0;
};

// What Operator::create is for such a kernel.
template <typename OneKernel>
std::unique_ptr<Kernel> create_float_kernel(const KernelInfo& info, ONNXTensorElementDataType x_type) {
  element_type(x_type, "x");
  return std::make_unique<OneKernel>(info);
}

}  // namespace hetc

#endif  // HETC_OPERATORS_FLOAT_KERNEL_H_
