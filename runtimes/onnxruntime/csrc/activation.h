// The activations of an expert.
#ifndef HETC_ACTIVATION_H_
#define HETC_ACTIVATION_H_

#include <string>

#include "ort.h"

namespace hetc {

using Activation = float (*)(float);

// silu, gelu (erf), gelu_tanh, relu or relu2 (squared ReLU); throws Error for other names.
Activation find_activation(const std::string& name);

}  // namespace hetc

#endif  // HETC_ACTIVATION_H_
