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
void each(const Activation&, float* values, size_t count) {
  for (size_t i = 0; i < count; ++i) values[i] = kFunction(values[i]);
}

template <float (*kFunction)(float, float)>
void each(const Activation& activation, float* values, size_t count) {
  for (size_t i = 0; i < count; ++i) values[i] = kFunction(values[i], activation.alpha);
}

void silu(const Activation&, float* values, size_t count) {
  divide(values, count, [](float x) { return -x; });
}

// x / 2 (1 + tanh u) = x / (1 + e^(-2 u))
void gelu_tanh(const Activation&, float* values, size_t count) {
  divide(values, count, [](float x) { return -2.0f * 0.79788456080286536f * (x + 0.044715f * x * x * x); });
}

float gelu(float x) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f)); }

// NaN stays NaN here and below.
float relu(float x) { return x < 0.0f ? 0.0f : x; }
float relu2(float x) { return relu(x) * relu(x); }
float relu6(float x) { return x > 6.0f ? 6.0f : relu(x); }
float leaky_relu(float x, float alpha) { return x < 0.0f ? alpha * x : x; }
float elu(float x, float alpha) { return x < 0.0f ? alpha * std::expm1(x) : x; }
float tanh_of(float x) { return std::tanh(x); }
float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
float softplus(float x) { return relu(x) + std::log1p(std::exp(-std::fabs(x))); }

float hard_swish(float x) {
  const float share = x / 6.0f + 0.5f;
  return x * (share < 0.0f ? 0.0f : share > 1.0f ? 1.0f : share);
}

// alpha z sigmoid(alpha z) is silu of alpha z.
void clamped_swish(const Activation& activation, size_t count, float* gate, float* values) {
  const float alpha = activation.alpha, beta = activation.beta, limit = activation.limit;
  for (size_t i = 0; i < count; ++i) gate[i] = alpha * (gate[i] > limit ? limit : gate[i]);
  silu(activation, gate, count);
  for (size_t i = 0; i < count; ++i) {
    const float up = values[i] > limit ? limit : values[i] < -limit ? -limit : values[i];
    values[i] = gate[i] / alpha * (up + beta);
  }
}

void softcapped_swish(const Activation& activation, size_t count, float* gate, float* values) {
  const float gate_cap = activation.gate_cap, up_cap = activation.up_cap;
  for (size_t i = 0; i < count; ++i) {
    const float capped = gate_cap * std::tanh(gate[i] / gate_cap) * sigmoid(gate[i]);
    values[i] = capped * (up_cap * std::tanh(values[i] / up_cap));
  }
}

}  // namespace

Activation read_activation(const KernelInfo& info) {
  static constexpr Choice<Activation> kActivations[] = {
      {"silu", {silu}},
      {"gelu", {each<gelu>}},
      {"gelu_tanh", {gelu_tanh}},
      {"relu", {each<relu>}},
      {"relu2", {each<relu2>}},
      {"leaky_relu", {each<leaky_relu>, nullptr, true}},
      {"elu", {each<elu>, nullptr, true}},
      {"relu6", {each<relu6>}},
      {"tanh", {each<tanh_of>}},
      {"sigmoid", {each<sigmoid>}},
      {"softplus", {each<softplus>}},
      {"hard_swish", {each<hard_swish>}},
      {"clamped_swish", {nullptr, clamped_swish}},
      {"softcapped_swish", {nullptr, softcapped_swish}},
  };
  Activation activation = choose_attribute(info, kActivations, "activation");
  if (activation.has_alpha) activation.alpha = real_at_least(info, "activation_alpha", 0.0f);
  if (activation.combine == clamped_swish) {
    activation.alpha = real_at_least(info, "activation_alpha", 0.0f, true);
    activation.beta = real_at_least(info, "activation_beta", 0.0f);
    activation.limit = real_at_least(info, "activation_limit", 0.0f, true);
  }
  if (activation.combine == softcapped_swish) {
    activation.gate_cap = real_at_least(info, "activation_gate_cap", 0.0f, true);
    activation.up_cap = real_at_least(info, "activation_up_cap", 0.0f, true);
  }
  return activation;
}

void activate(const Activation& activation, size_t count, float* gate, float* values) {
  if (gate == nullptr) return activation.apply(activation, values, count);
  if (activation.combine != nullptr) return activation.combine(activation, count, gate, values);
  activation.apply(activation, gate, count);
  for (size_t i = 0; i < count; ++i) values[i] *= gate[i];
}

}  // namespace hetc
