// AnalogMatMul: one matrix product on crossbars.
#include <limits>

#include "crossbar/crossbar_matrix.h"
#include "crossbar/recorder.h"
#include "crossbar/settings.h"
#include "operators/vectors.h"
#include "ort/operator.h"

namespace hetc {
namespace {

enum Input : size_t { kX, kW, kInputRange, kAdcBound, kWeightScale };

class AnalogMatMul : public Kernel {
 public:
  explicit AnalogMatMul(const KernelInfo& info)
      : settings_(read_settings(info)),
        matrix_(
            info, settings_, read_weight(info, kW, "w", settings_.transpose_weight), info.input_name(kW), "",
            static_cast<uint32_t>(integer_between(info, "stream", 0, std::numeric_limits<int32_t>::max())),
            kAdcBound, kWeightScale),
        input_range_(read_input_range(info, kInputRange, "input_range",
                                      split(matrix_.weight().rows, settings_.tile_rows).size())) {
    if (!settings_.stats_file.empty())
      recorder_.emplace(settings_.stats_file, info.text("unit"), info.input_name(kW),
                        split(matrix_.weight().rows, settings_.tile_rows));
  }

  void compute(const KernelContext& context) override {
    const Weight& weight = matrix_.weight();
    const Vectors x(context, weight.rows);
    Result y(context, x, weight.columns);
    if (x.rows() == 0) return;
    if (recorder_) recorder_->add(x.data(), x.rows(), weight.rows);
    if (settings_.mode == Mode::kExact) {
      multiply_exact(context, weight, x.data(), x.rows(), y.data());
    } else {
      const Codes codes =
          convert(context, settings_, x.data(), x.rows(), weight.rows, input_range_, matrix_.stream());
      matrix_.multiply(context, codes, y.data());
    }
    y.finish();
  }

 private:
  Settings settings_;
  CrossbarMatrix matrix_;
  std::vector<float> input_range_;
  std::optional<Recorder> recorder_;
};

std::unique_ptr<Kernel> create(const KernelInfo& info, ONNXTensorElementDataType x_type) {
  element_type(x_type, "x");
  return std::make_unique<AnalogMatMul>(info);
}

}  // namespace

const Operator kAnalogMatMul = {"AnalogMatMul", {true, true, false, false, false}, create, kW, false};

}  // namespace hetc
