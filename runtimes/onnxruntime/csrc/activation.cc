#include "activation.h"

#include <algorithm>
#include <cmath>

#include "vector_code.h"

namespace hetc {
namespace {

// x / (1 + e^z(x)), the form of both sigmoid activations.
template <typename Exponent>
void divide(float* values, size_t count, Exponent exponent) {
  constexpr size_t kChunk = 256;
  float powers[kChunk];
  for (size_t begin = 0; begin < count; begin += kChunk) {
    float* x = values + begin;
    const size_t length = std::min(kChunk, count - begin);
    for (size_t i = 0; i < length; ++i) powers[i] = exponent(x[i]);
    vector_code().exponential(powers, length);
    for (size_t i = 0; i < length; ++i) x[i] /= 1.0f + powers[i];
  }
}

template <float (*kFunction)(float)>
void each(float* values, size_t count) {
  for (size_t i = 0; i < count; ++i) values[i] = kFunction(values[i]);
}

void silu(float* values, size_t count) {
  divide(values, count, [](float x) { return -x; });
}

// x / 2 (1 + tanh u) = x / (1 + e^(-2 u))
void gelu_tanh(float* values, size_t count) {
  divide(values, count, [](float x) { return -2.0f * 0.79788456080286536f * (x + 0.044715f * x * x * x); });
}

float gelu(float x) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f)); }

// NaN stays NaN.
float relu(float x) { return x < 0.0f ? 0.0f : x; }

float relu2(float x) { return relu(x) * relu(x); }

}  // namespace

Activation find_activation(const std::string& name) {
  if (name == "silu") return silu;
  if (name == "gelu") return each<gelu>;
  if (name == "gelu_tanh") return gelu_tanh;
  if (name == "relu") return each<relu>;
  if (name == "relu2") return each<relu2>;
  throw Error("attribute 'activation': '" + name +
              "' is not allowed; allowed: silu, gelu, gelu_tanh, relu, relu2");
}

}  // namespace hetc
