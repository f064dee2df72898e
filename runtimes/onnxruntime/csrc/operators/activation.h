// The activations of an expert.
#ifndef HETC_OPERATORS_ACTIVATION_H_
#define HETC_OPERATORS_ACTIVATION_H_

#include <cstddef>

#include "ort/kernel_info.h"

namespace hetc {

// What stands between the products of an expert: apply(values) without a gate, else combine(gate, values).
// Numbers are those that the activation has as attributes.
struct Activation {
  void (*apply)(const Activation& activation, float* values, size_t count);
  void (*combine)(const Activation& activation, size_t count, float* gate, float* values) = nullptr;
  bool has_alpha = false;
  float alpha = 1.0f, beta = 0.0f, limit = 0.0f, gate_cap = 1.0f, up_cap = 1.0f;
  // Whether it is one of gate and up together.
  bool needs_gate() const { return combine != nullptr; }
};

// The activation that docs/operators.md defines under a name, with its attributes; throws Error for other
// names.
Activation read_activation(const KernelInfo& info);

// values[i] = act(values[i]) if gate is null, else act(gate[i]) * values[i], or what an activation of both
// is. Changes gate.
void activate(const Activation& activation, size_t count, float* gate, float* values);

}  // namespace hetc

#endif  // HETC_OPERATORS_ACTIVATION_H_
