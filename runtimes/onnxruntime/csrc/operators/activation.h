// The activations of an expert.
#ifndef HETC_OPERATORS_ACTIVATION_H_
#define HETC_OPERATORS_ACTIVATION_H_

#include <cstddef>

#include "ort/kernel_info.h"

namespace hetc {

// What stands between the products of an expert. Only clamped_swish has alpha, beta and a limit.
struct Activation {
  void (*apply)(float* values, size_t count);
  bool clamped = false;
  float alpha = 1.0f, beta = 0.0f, limit = 0.0f;
};

// silu, gelu (erf), gelu_tanh, relu, relu2 (squared ReLU) or clamped_swish with its attributes; throws Error
// for other names.
Activation read_activation(const KernelInfo& info);

// values[i] = act(values[i]) if gate is null, else act(gate[i]) * values[i], bounded as clamped_swish says.
// Changes gate.
void activate(const Activation& activation, size_t count, float* gate, float* values);

}  // namespace hetc

#endif  // HETC_OPERATORS_ACTIVATION_H_
