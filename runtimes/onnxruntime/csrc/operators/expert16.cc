// Expert16: a digital expert whose weights stay 16 bits wide in memory.
#include <string>

#include "operators/digital_expert.h"
#include "operators/expert.h"
#include "operators/float_kernel.h"
#include "operators/operators.h"
#include "ort/attributes.h"
#include "ort/session.h"
#include "ort/status.h"

namespace hetc {
namespace {

void require_16_bits(const Weight& weight, const std::string& name) {
  if (weight.type == ElementType::kFloat32) throw Error(name + " is float32; allowed: float16, bfloat16");
}

ExpertParameters read_expert16(const KernelInfo& info) {
  read_session(info);  // throws for entries that are not known
  ExpertParameters expert = read_expert(info, integer_between(info, "transpose_weight", 0, 1) == 1);
  if (expert.gate) require_16_bits(*expert.gate, "gate");
  require_16_bits(expert.up, "up");
  require_16_bits(expert.down, "down");
  return expert;
}

class Expert16 : public FloatKernel {
 public:
  explicit Expert16(const KernelInfo& info) : expert_(read_expert16(info)) {}

 private:
  size_t inputs() const override { return expert_.parameters().hidden(); }
  size_t outputs() const override { return expert_.parameters().hidden(); }

  void compute_rows(const KernelContext& context, const float* x, size_t rows, float* y) override {
    expert_.project(context, expert_.neurons(context, x, rows).get(), rows, y, false);
    add_bias(expert_.parameters().down_bias, rows, y);
  }

  DigitalExpert expert_;
};

Operator expert16() {
  Operator op;
  op.name = "Expert16";
  op.inputs = kDownBias + 1;
  op.required = {kX, kUp, kDown};
  op.naming_input = kUp;
  op.create = create_float_kernel<Expert16>;
  return op;
}

}  // namespace

const Operator kExpert16 = expert16();

}  // namespace hetc
