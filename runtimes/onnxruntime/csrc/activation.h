// The activations of an expert.
#ifndef HETC_ACTIVATION_H_
#define HETC_ACTIVATION_H_

#include <cstddef>
#include <string>

#include "ort.h"

namespace hetc {

// Replaces values by their activation.
using Activation = void (*)(float* values, size_t count);

// silu, gelu (erf), gelu_tanh, relu or relu2 (squared ReLU); throws Error for other names.
Activation find_activation(const std::string& name);

}  // namespace hetc

#endif  // HETC_ACTIVATION_H_
