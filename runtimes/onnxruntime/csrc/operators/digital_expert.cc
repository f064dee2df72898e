// Three exact products and what is between them.
#include "operators/digital_expert.h"

namespace hetc {

DigitalExpert::DigitalExpert(const ExpertParameters& expert)
    : expert_(expert), up_(expert.up), down_(expert.down) {
  if (expert.gate) gate_.emplace(*expert.gate);
}

std::unique_ptr<float[]> DigitalExpert::neurons(const KernelContext& context, const float* x, size_t rows) {
  const size_t count = rows * expert_.intermediate();
  const std::unique_ptr<float[]> gate(new float[gate_ ? count : 0]);
  std::unique_ptr<float[]> up(new float[count]);
  if (gate_) gate_->multiply(context, x, rows, gate.get());
  up_.multiply(context, x, rows, up.get());
  activate_rows(context, expert_, rows, gate_ ? gate.get() : nullptr, up.get());
  return up;
}

void DigitalExpert::project(const KernelContext& context, const float* neurons, size_t rows, float* y,
                            bool add) {
  down_.multiply(context, neurons, rows, y, add);
}

}  // namespace hetc
