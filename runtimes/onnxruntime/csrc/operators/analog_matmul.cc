// AnalogMatMul: one matrix product on crossbars.
#include <algorithm>
#include <vector>

#include "crossbar/crossbar_input.h"
#include "crossbar/crossbar_matrix.h"
#include "crossbar/digital_matrix.h"
#include "crossbar/placement.h"
#include "crossbar/settings.h"
#include "crossbar/weight.h"
#include "operators/float_kernel.h"
#include "operators/operators.h"

namespace hetc {
namespace {

enum Input : size_t { kX, kW, kInputRange, kAdcBound, kWeightScale, kInputRank, kOutputRank };

class AnalogMatMul : public FloatKernel {
 public:
  explicit AnalogMatMul(const KernelInfo& info)
      : settings_(read_settings(info)),
        whole_(read_weight(info, kW, "w", settings_.transpose_weight)),
        placements_(read_placements(
            info, {{kInputRank, "input_rank", whole_.rows}, {kOutputRank, "output_rank", whole_.columns}},
            &settings_)),
        matrix_(info, settings_, select_rows(select_columns(whole_, outputs_.analog), inputs_.analog),
                {"", kW, kAdcBound, kWeightScale}),
        input_(info, settings_, matrix_, {info.input_name(kW), kInputRange, "input_range"}),
        digital_inputs_(select_rows(select_columns(whole_, outputs_.analog), inputs_.digital)),
        digital_outputs_(select_columns(whole_, outputs_.digital)) {}

 private:
  size_t inputs() const override { return whole_.rows; }
  size_t outputs() const override { return whole_.columns; }

  void compute_rows(const KernelContext& context, const float* x, size_t rows, float* y) override {
    input_.record(x, rows);
    if (inputs_.digital.count == 0 && outputs_.digital.count == 0)
      return input_.multiply(context, x, rows, {{&matrix_, y}});
    if (outputs_.digital.count == 0) {
      make_analog_outputs(context, x, rows, y);
    } else {
      std::vector<float> part(rows * std::max(outputs_.analog.count, outputs_.digital.count));
      make_analog_outputs(context, x, rows, part.data());
      put_neurons(part.data(), rows, whole_.columns, outputs_.analog, y);
      digital_outputs_.multiply(context, x, rows, part.data());
      put_neurons(part.data(), rows, whole_.columns, outputs_.digital, y);
    }
    spread_not_finite(x, rows, whole_.rows, whole_.columns, y);
  }

  // y[rows, analog outputs] = what the crossbars make of the analog inputs, and the product of the digital
  // ones.
  void make_analog_outputs(const KernelContext& context, const float* x, size_t rows, float* y) {
    if (outputs_.analog.count == 0) return;
    if (inputs_.digital.count == 0) return input_.multiply(context, x, rows, {{&matrix_, y}});
    std::vector<float> part(rows * std::max(inputs_.analog.count, inputs_.digital.count));
    if (inputs_.analog.count > 0) {
      take_neurons(x, rows, whole_.rows, inputs_.analog, part.data());
      input_.multiply(context, part.data(), rows, {{&matrix_, y}});
    }
    take_neurons(x, rows, whole_.rows, inputs_.digital, part.data());
    digital_inputs_.multiply(context, part.data(), rows, y, inputs_.analog.count > 0);
  }

  Settings settings_;
  Weight whole_;
  const std::vector<Placement> placements_;
  const Placement &inputs_ = placements_[0], &outputs_ = placements_[1];
  CrossbarMatrix matrix_;
  CrossbarInput input_;
  DigitalMatrix digital_inputs_, digital_outputs_;
};

Operator analog_matmul() {
  Operator op;
  op.name = "AnalogMatMul";
  op.inputs = kOutputRank + 1;
  op.required = {kX, kW};
  op.naming_input = kW;
  op.create = create_float_kernel<AnalogMatMul>;
  return op;
}

}  // namespace

const Operator kAnalogMatMul = analog_matmul();

}  // namespace hetc
