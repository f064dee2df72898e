// An expert, or the digital neurons of one, in float32.
#ifndef HETC_OPERATORS_DIGITAL_EXPERT_H_
#define HETC_OPERATORS_DIGITAL_EXPERT_H_

#include <cstddef>
#include <memory>
#include <optional>

#include "crossbar/digital_matrix.h"
#include "operators/expert.h"
#include "ort/kernel_context.h"

namespace hetc {

class DigitalExpert {
 public:
  explicit DigitalExpert(const ExpertParameters& expert);

  const ExpertParameters& parameters() const { return expert_; }

  // [rows, intermediate]: what the neurons make of x[rows, hidden].
  std::unique_ptr<float[]> neurons(const KernelContext& context, const float* x, size_t rows);

  // y[rows, hidden] = the product of down with these, or y + that. Without bias.
  void project(const KernelContext& context, const float* neurons, size_t rows, float* y, bool add);

 private:
  ExpertParameters expert_;
  std::optional<DigitalMatrix> gate_;
  DigitalMatrix up_;
  DigitalMatrix down_;
};

}  // namespace hetc

#endif  // HETC_OPERATORS_DIGITAL_EXPERT_H_
