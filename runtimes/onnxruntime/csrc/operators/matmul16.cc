// MatMul16: a digital product whose weights stay 16 bits wide where they lie.
#include "crossbar/digital_matrix.h"
#include "crossbar/weight.h"
#include "operators/float_kernel.h"
#include "operators/operators.h"
#include "ort/attributes.h"
#include "ort/session.h"
#include "ort/status.h"

namespace hetc {
namespace {

enum Input : size_t { kX, kW };

Weight read_weight16(const KernelInfo& info) {
  read_session(info);  // throws for entries that are not known
  const Weight weight = read_weight(info, kW, "w", integer_between(info, "transpose_weight", 0, 1) == 1);
  if (weight.type == ElementType::kFloat32) throw Error("w is float32; allowed: float16, bfloat16");
  return weight;
}

class MatMul16 : public FloatKernel {
 public:
  explicit MatMul16(const KernelInfo& info) : weight_(read_weight16(info)), matrix_(weight_) {}

 private:
  size_t inputs() const override { return weight_.rows; }
  size_t outputs() const override { return weight_.columns; }

  void compute_rows(const KernelContext& context, const float* x, size_t rows, float* y) override {
    matrix_.multiply(context, x, rows, y);
  }

  const Weight weight_;
  DigitalMatrix matrix_;
};

Operator matmul16() {
  Operator op;
  op.name = "MatMul16";
  op.inputs = kW + 1;
  op.required = {kX, kW};
  op.naming_input = kW;
  op.create = create_float_kernel<MatMul16>;
  return op;
}

}  // namespace

const Operator kMatMul16 = matmul16();

}  // namespace hetc
