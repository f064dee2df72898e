// AnalogExpert: gate, up and down on crossbars, everything between them digital.
#include <limits>

#include "crossbar/crossbar_matrix.h"
#include "crossbar/recorder.h"
#include "crossbar/settings.h"
#include "operators/expert.h"
#include "operators/vectors.h"
#include "ort/operator.h"

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

uint32_t read_stream(const KernelInfo& info, const char* attribute) {
  return static_cast<uint32_t>(integer_between(info, attribute, 0, std::numeric_limits<int32_t>::max()));
}

class AnalogExpert : public Kernel {
 public:
  explicit AnalogExpert(const KernelInfo& info)
      : settings_(read_settings(info)),
        expert_(read_expert(info, settings_.transpose_weight)),
        up_(info, settings_, expert_.up, info.input_name(kUp), "up_", read_stream(info, "up_stream"),
            kUpAdcBound, kUpWeightScale),
        down_(info, settings_, expert_.down, info.input_name(kDown), "down_",
              read_stream(info, "down_stream"), kDownAdcBound, kDownWeightScale),
        in_range_(read_input_range(info, kInRange, "in_range",
                                   split(expert_.hidden(), settings_.tile_rows).size())),
        mid_range_(read_input_range(info, kMidRange, "mid_range",
                                    split(expert_.intermediate(), settings_.tile_rows).size())) {
    if (expert_.gate) {
      gate_.emplace(info, settings_, *expert_.gate, info.input_name(kGate), "gate_",
                    read_stream(info, "gate_stream"), kGateAdcBound, kGateWeightScale);
    } else {
      integer_between(info, "gate_stream", -1, -1);
    }
    if (!settings_.stats_file.empty()) {
      const std::string unit = info.text("unit");
      in_recorder_.emplace(settings_.stats_file, unit, "in", split(expert_.hidden(), settings_.tile_rows));
      mid_recorder_.emplace(settings_.stats_file, unit, "mid",
                            split(expert_.intermediate(), settings_.tile_rows));
    }
  }

  void compute(const KernelContext& context) override {
    const Vectors x(context, expert_.hidden());
    Result y(context, x, expert_.hidden());
    const size_t rows = x.rows();
    if (rows == 0) return;
    if (in_recorder_) in_recorder_->add(x.data(), rows, expert_.hidden());
    const std::unique_ptr<float[]> gate(new float[expert_.gate ? rows * expert_.intermediate() : 0]);
    const std::unique_ptr<float[]> up(new float[rows * expert_.intermediate()]);
    if (settings_.mode == Mode::kExact) {
      if (expert_.gate) multiply_exact(context, *expert_.gate, x.data(), rows, gate.get());
      multiply_exact(context, expert_.up, x.data(), rows, up.get());
    } else {
      const Codes codes =
          convert(context, settings_, x.data(), rows, expert_.hidden(), in_range_, up_.stream());
      if (gate_) gate_->multiply(context, codes, gate.get());
      up_.multiply(context, codes, up.get());
    }
    activate_rows(context, expert_, rows, expert_.gate ? gate.get() : nullptr, up.get());
    if (mid_recorder_) mid_recorder_->add(up.get(), rows, expert_.intermediate());
    if (settings_.mode == Mode::kExact) {
      multiply_exact(context, expert_.down, up.get(), rows, y.data());
    } else {
      const Codes codes =
          convert(context, settings_, up.get(), rows, expert_.intermediate(), mid_range_, down_.stream());
      down_.multiply(context, codes, y.data());
    }
    add_bias(expert_.down_bias, rows, y.data());
    y.finish();
  }

 private:
  Settings settings_;
  ExpertParameters expert_;
  std::optional<CrossbarMatrix> gate_;
  CrossbarMatrix up_;
  CrossbarMatrix down_;
  std::vector<float> in_range_;
  std::vector<float> mid_range_;
  std::optional<Recorder> in_recorder_;
  std::optional<Recorder> mid_recorder_;
};

std::unique_ptr<Kernel> create(const KernelInfo& info, ONNXTensorElementDataType x_type) {
  element_type(x_type, "x");
  return std::make_unique<AnalogExpert>(info);
}

}  // namespace

const Operator kAnalogExpert = {
    "AnalogExpert",
    {true, false, true, true, false, false, false, false, false, false, false, false, false, false, false},
    create,
    kUp,
    false};

}  // namespace hetc
