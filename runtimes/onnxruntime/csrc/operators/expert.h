// What AnalogExpert and Expert16 share: the weights, biases and activation of an expert.
#ifndef HETC_OPERATORS_EXPERT_H_
#define HETC_OPERATORS_EXPERT_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "crossbar/placement.h"
#include "operators/activation.h"
#include "ort/kernel_context.h"
#include "ort/kernel_info.h"
#include "vector/types.h"

namespace hetc {

enum ExpertInput : size_t { kX, kGate, kUp, kDown, kGateBias, kUpBias, kDownBias };

struct ExpertParameters {
  std::optional<Weight> gate;
  Weight up;
  Weight down;
  std::vector<float> gate_bias, up_bias, down_bias;  // empty: none
  Activation activation;

  size_t hidden() const { return up.rows; }
  size_t intermediate() const { return up.columns; }
};

ExpertParameters read_expert(const KernelInfo& info, bool transpose_weight);

// The expert that some of the neurons make up: their part of every matrix and bias. Refers to them.
ExpertParameters select_neurons(ExpertParameters expert, const Neurons& neurons);

// up[rows, intermediate] = act(gate + gate_bias) * (up + up_bias), or act(up + up_bias) if gate is null.
// Changes gate.
void activate_rows(const KernelContext& context, const ExpertParameters& expert, size_t rows, float* gate,
                   float* up);

void add_bias(const std::vector<float>& bias, size_t rows, float* y);

}  // namespace hetc

#endif  // HETC_OPERATORS_EXPERT_H_
