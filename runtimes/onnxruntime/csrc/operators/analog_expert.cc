// AnalogExpert: gate, up and down on crossbars, everything between them digital.
#include <memory>
#include <optional>
#include <vector>

#include "crossbar/crossbar_input.h"
#include "crossbar/crossbar_matrix.h"
#include "crossbar/placement.h"
#include "crossbar/settings.h"
#include "operators/digital_expert.h"
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
  kDownWeightScale,
  kNeuronRank
};

constexpr MatrixInputs kGateInputs = {"gate_", kGate, kGateAdcBound, kGateWeightScale};
constexpr MatrixInputs kUpInputs = {"up_", kUp, kUpAdcBound, kUpWeightScale};
constexpr MatrixInputs kDownInputs = {"down_", kDown, kDownAdcBound, kDownWeightScale};

// An expert whose neurons are analog or digital is a sum of two, of which each has its neurons alone.
class AnalogExpert : public FloatKernel {
 public:
  explicit AnalogExpert(const KernelInfo& info)
      : settings_(read_settings(info)),
        expert_(read_expert(info, settings_.transpose_weight)),
        neurons_(
            read_placements(info, {{kNeuronRank, "neuron_rank", expert_.intermediate()}}, &settings_)[0]),
        analog_(select_neurons(expert_, neurons_.analog)),
        digital_(select_neurons(expert_, neurons_.digital)),
        up_(info, settings_, analog_.up, kUpInputs),
        down_(info, settings_, analog_.down, kDownInputs),
        in_(info, settings_, up_, {"in", kInRange, "in_range"}),
        mid_(info, settings_, down_, {"mid", kMidRange, "mid_range"}) {
    if (expert_.gate) {
      gate_.emplace(info, settings_, *analog_.gate, kGateInputs);
    } else {
      integer_between(info, "gate_stream", -1, -1);
    }
  }

 private:
  size_t inputs() const override { return expert_.hidden(); }
  size_t outputs() const override { return expert_.hidden(); }

  void compute_rows(const KernelContext& context, const float* x, size_t rows, float* y) override {
    const std::unique_ptr<float[]> gate(new float[gate_ ? rows * analog_.intermediate() : 0]);
    const std::unique_ptr<float[]> up(new float[rows * analog_.intermediate()]);
    in_.record(x, rows);
    if (gate_) {
      in_.multiply(context, x, rows, {{&*gate_, gate.get()}, {&up_, up.get()}});
    } else {
      in_.multiply(context, x, rows, {{&up_, up.get()}});
    }
    activate_rows(context, analog_, rows, gate_ ? gate.get() : nullptr, up.get());
    if (neurons_.digital.count == 0) {
      mid_.record(up.get(), rows);
      mid_.multiply(context, up.get(), rows, {{&down_, y}});
    } else {
      const std::unique_ptr<float[]> others = digital_.neurons(context, x, rows);
      if (mid_.records()) record_all(up.get(), others.get(), rows);
      mid_.multiply(context, up.get(), rows, {{&down_, y}});
      digital_.project(context, others.get(), rows, y, true);
      spread_not_finite(others.get(), rows, neurons_.digital.count, expert_.hidden(), y);
    }
    add_bias(expert_.down_bias, rows, y);
  }

  void record_all(const float* analog, const float* digital, size_t rows) {
    std::vector<float> all(rows * expert_.intermediate());
    put_neurons(analog, rows, expert_.intermediate(), neurons_.analog, all.data());
    put_neurons(digital, rows, expert_.intermediate(), neurons_.digital, all.data());
    mid_.record(all.data(), rows);
  }

  Settings settings_;
  ExpertParameters expert_;
  Placement neurons_;
  ExpertParameters analog_;
  DigitalExpert digital_;
  std::optional<CrossbarMatrix> gate_;
  CrossbarMatrix up_;
  CrossbarMatrix down_;
  CrossbarInput in_;
  CrossbarInput mid_;
};

Operator analog_expert() {
  Operator op;
  op.name = "AnalogExpert";
  op.inputs = kNeuronRank + 1;
  op.required = {kX, kUp, kDown};
  op.naming_input = kUp;
  op.create = create_float_kernel<AnalogExpert>;
  return op;
}

}  // namespace

const Operator kAnalogExpert = analog_expert();

}  // namespace hetc
