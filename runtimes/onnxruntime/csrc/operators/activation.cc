// Activations in float32; those with a sigmoid share the vectorised e^x.
#include "operators/activation.h"

#include <algorithm>
#include <cmath>

#include "ort/attributes.h"
#include "vector/vector_code.h"

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

Activation read_activation(const KernelInfo& info) {
  static constexpr Choice<Activation> kActivations[] = {
      {"silu", {silu}},       {"gelu", {each<gelu>}},   {"gelu_tanh", {gelu_tanh}},
      {"relu", {each<relu>}}, {"relu2", {each<relu2>}}, {"clamped_swish", {silu, true}},
  };
  Activation activation = choose_attribute(info, kActivations, "activation");
  if (activation.clamped) {
    activation.alpha = real_at_least(info, "activation_alpha", 0.0f, true);
    activation.beta = real_at_least(info, "activation_beta", 0.0f);
    activation.limit = real_at_least(info, "activation_limit", 0.0f, true);
  }
  return activation;
}

void activate(const Activation& activation, size_t count, float* gate, float* values) {
  if (gate == nullptr) return activation.apply(values, count);
  if (!activation.clamped) {
    activation.apply(gate, count);
    for (size_t i = 0; i < count; ++i) values[i] *= gate[i];
    return;
  }
  // alpha z sigmoid(alpha z) is silu of alpha z. Comparisons keep NaN.
  const float alpha = activation.alpha, beta = activation.beta, limit = activation.limit;
  for (size_t i = 0; i < count; ++i) gate[i] = alpha * (gate[i] > limit ? limit : gate[i]);
  activation.apply(gate, count);
  for (size_t i = 0; i < count; ++i) {
    const float up = values[i] > limit ? limit : values[i] < -limit ? -limit : values[i];
    values[i] = gate[i] / alpha * (up + beta);
  }
}

}  // namespace hetc
