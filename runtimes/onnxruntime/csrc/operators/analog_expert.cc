// AnalogExpert: gate, up and down on crossbars, everything between them digital.
#include <memory>
#include <optional>

#include "crossbar/crossbar_input.h"
#include "crossbar/crossbar_matrix.h"
#include "crossbar/settings.h"
#include "operators/expert.h"
#include "operators/float_kernel.h"
#include "operators/operators.h"
#include "ort/attributes.h"

namespace hetc {
namespace {

enum Input : size_t {
  kInRange = kDownBias + 1,
  kMidRange,
  kGateAdcBound,
  kUpAdcBound,
  kDownAdcBound,
  kGateWeightScale,
  kUpWeightScale,
  kDownWeightScale
};

constexpr MatrixInputs kGateInputs = {"gate_", kGate, kGateAdcBound, kGateWeightScale};
constexpr MatrixInputs kUpInputs = {"up_", kUp, kUpAdcBound, kUpWeightScale};
constexpr MatrixInputs kDownInputs = {"down_", kDown, kDownAdcBound, kDownWeightScale};

class AnalogExpert : public FloatKernel {
 public:
  explicit AnalogExpert(const KernelInfo& info)
      : settings_(read_settings(info)),
        expert_(read_expert(info, settings_.transpose_weight)),
        up_(info, settings_, expert_.up, kUpInputs),
        down_(info, settings_, expert_.down, kDownInputs),
        in_(info, settings_, up_, {"in", kInRange, "in_range"}),
        mid_(info, settings_, down_, {"mid", kMidRange, "mid_range"}) {
    if (expert_.gate) {
      gate_.emplace(info, settings_, *expert_.gate, kGateInputs);
    } else {
      integer_between(info, "gate_stream", -1, -1);
    }
  }

 private:
  size_t inputs() const override { return expert_.hidden(); }
  size_t outputs() const override { return expert_.hidden(); }

  void compute_rows(const KernelContext& context, const float* x, size_t rows, float* y) override {
    const std::unique_ptr<float[]> gate(new float[gate_ ? rows * expert_.intermediate() : 0]);
    const std::unique_ptr<float[]> up(new float[rows * expert_.intermediate()]);
    if (gate_) {
      in_.multiply(context, x, rows, {{&*gate_, gate.get()}, {&up_, up.get()}});
    } else {
      in_.multiply(context, x, rows, {{&up_, up.get()}});
    }
    activate_rows(context, expert_, rows, gate_ ? gate.get() : nullptr, up.get());
    mid_.multiply(context, up.get(), rows, {{&down_, y}});
    add_bias(expert_.down_bias, rows, y);
  }

  Settings settings_;
  ExpertParameters expert_;
  std::optional<CrossbarMatrix> gate_;
  CrossbarMatrix up_;
  CrossbarMatrix down_;
  CrossbarInput in_;
  CrossbarInput mid_;
};

Operator analog_expert() {
  Operator op;
  op.name = "AnalogExpert";
  op.inputs = kDownWeightScale + 1;
  op.required = {kX, kUp, kDown};
  op.naming_input = kUp;
  op.create = create_float_kernel<AnalogExpert>;
  return op;
}

}  // namespace

const Operator kAnalogExpert = analog_expert();

}  // namespace hetc
