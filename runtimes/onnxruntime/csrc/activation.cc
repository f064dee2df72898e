#include "activation.h"

#include <cmath>

namespace hetc {
namespace {

float silu(float x) { return x / (1.0f + std::exp(-x)); }

float gelu(float x) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f)); }

float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}

// NaN stays NaN.
float relu(float x) { return x < 0.0f ? 0.0f : x; }

float relu2(float x) { return relu(x) * relu(x); }

}  // namespace

Activation find_activation(const std::string& name) {
  if (name == "silu") return silu;
  if (name == "gelu") return gelu;
  if (name == "gelu_tanh") return gelu_tanh;
  if (name == "relu") return relu;
  if (name == "relu2") return relu2;
  throw Error("attribute 'activation': '" + name +
              "' is not allowed; allowed: silu, gelu, gelu_tanh, relu, relu2");
}

}  // namespace hetc
