// AnalogMatMul: one matrix product on crossbars.
#include "crossbar/crossbar_input.h"
#include "crossbar/crossbar_matrix.h"
#include "crossbar/settings.h"
#include "crossbar/weight.h"
#include "operators/float_kernel.h"
#include "operators/operators.h"

namespace hetc {
namespace {

enum Input : size_t { kX, kW, kInputRange, kAdcBound, kWeightScale };

class AnalogMatMul : public FloatKernel {
 public:
  explicit AnalogMatMul(const KernelInfo& info)
      : settings_(read_settings(info)),
        matrix_(info, settings_, read_weight(info, kW, "w", settings_.transpose_weight),
                {"", kW, kAdcBound, kWeightScale}),
        input_(info, settings_, matrix_, {info.input_name(kW), kInputRange, "input_range"}) {}

 private:
  size_t inputs() const override { return matrix_.weight().rows; }
  size_t outputs() const override { return matrix_.weight().columns; }

  void compute_rows(const KernelContext& context, const float* x, size_t rows, float* y) override {
    input_.multiply(context, x, rows, {{&matrix_, y}});
  }

  Settings settings_;
  CrossbarMatrix matrix_;
  CrossbarInput input_;
};

Operator analog_matmul() {
  Operator op;
  op.name = "AnalogMatMul";
  op.inputs = kWeightScale + 1;
  op.required = {kX, kW};
  op.naming_input = kW;
  op.create = create_float_kernel<AnalogMatMul>;
  return op;
}

}  // namespace

const Operator kAnalogMatMul = analog_matmul();

}  // namespace hetc
