// Expert16: a digital expert whose weights stay 16 bits wide in memory.
#include "crossbar/settings.h"
#include "operators/expert.h"
#include "operators/vectors.h"
#include "ort/operator.h"

namespace hetc {
namespace {

void require_16_bits(const Weight& weight, const std::string& name) {
  if (weight.type == ElementType::kFloat32) throw Error(name + " is float32; allowed: float16, bfloat16");
}

class Expert16 : public Kernel {
 public:
  explicit Expert16(const KernelInfo& info)
      : expert_(read_expert(info, integer_between(info, "transpose_weight", 0, 1) == 1)) {
    if (expert_.gate) require_16_bits(*expert_.gate, "gate");
    require_16_bits(expert_.up, "up");
    require_16_bits(expert_.down, "down");
  }

  void compute(const KernelContext& context) override {
    const Vectors x(context, expert_.hidden());
    Result y(context, x, expert_.hidden());
    if (x.rows() == 0) return;
    const std::unique_ptr<float[]> gate(new float[expert_.gate ? x.rows() * expert_.intermediate() : 0]);
    const std::unique_ptr<float[]> up(new float[x.rows() * expert_.intermediate()]);
    if (expert_.gate) multiply_exact(context, *expert_.gate, x.data(), x.rows(), gate.get());
    multiply_exact(context, expert_.up, x.data(), x.rows(), up.get());
    activate_rows(context, expert_, x.rows(), expert_.gate ? gate.get() : nullptr, up.get());
    multiply_exact(context, expert_.down, up.get(), x.rows(), y.data());
    add_bias(expert_.down_bias, x.rows(), y.data());
    y.finish();
  }

 private:
  ExpertParameters expert_;
};

std::unique_ptr<Kernel> create(const KernelInfo& info, ONNXTensorElementDataType x_type) {
  element_type(x_type, "x");
  read_session(info);
  return std::make_unique<Expert16>(info);
}

}  // namespace

const Operator kExpert16 = {"Expert16", {true, false, true, true, false, false, false}, create, kUp, false};

}  // namespace hetc
