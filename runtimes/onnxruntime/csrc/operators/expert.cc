// An expert's parts, checked against each other, and what is digital between its products.
#include "operators/expert.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "crossbar/weight.h"
#include "ort/status.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

std::string sizes(const Weight& weight) {
  return std::to_string(weight.rows) + " inputs and " + std::to_string(weight.columns) + " outputs";
}

// An optional constant bias of `length` values, as float32; empty if the node has none.
std::vector<float> read_bias(const KernelInfo& info, size_t index, const std::string& name, size_t length) {
  const std::optional<Tensor> tensor = info.constant(index, name);
  if (!tensor) return {};
  const ElementType type = element_type(tensor->type, name);
  if (tensor->shape != std::vector<int64_t>{static_cast<int64_t>(length)})
    throw Error(name + " has shape " + shape_text(tensor->shape) + "; allowed: [" + std::to_string(length) +
                "]");
  std::vector<float> bias(length);
  vector_code().to_float(type, tensor->data, length, bias.data());
  return bias;
}

}  // namespace

ExpertParameters read_expert(const KernelInfo& info, bool transpose_weight) {
  ExpertParameters expert{};
  expert.activation = read_activation(info);
  expert.up = read_weight(info, kUp, "up", transpose_weight);
  expert.down = read_weight(info, kDown, "down", transpose_weight);
  if (!info.input_name(kGate).empty()) expert.gate = read_weight(info, kGate, "gate", transpose_weight);
  if (expert.gate && (expert.gate->rows != expert.up.rows || expert.gate->columns != expert.up.columns))
    throw Error("gate has " + sizes(*expert.gate) + ", but up has " + sizes(expert.up) + "; they must agree");
  if (expert.down.rows != expert.up.columns || expert.down.columns != expert.up.rows)
    throw Error("down has " + sizes(expert.down) + ", but up has " + sizes(expert.up) +
                "; down must be its reverse");
  expert.gate_bias = read_bias(info, kGateBias, "gate_bias", expert.intermediate());
  expert.up_bias = read_bias(info, kUpBias, "up_bias", expert.intermediate());
  expert.down_bias = read_bias(info, kDownBias, "down_bias", expert.hidden());
  if (!expert.gate && expert.activation.needs_gate())
    throw Error("attribute 'activation': '" + info.text("activation") + "' needs a gate");
  if (!expert.gate && !expert.gate_bias.empty()) throw Error("gate_bias is given, but gate is not");
  return expert;
}

ExpertParameters select_neurons(ExpertParameters expert, const Neurons& neurons) {
  const size_t width = expert.intermediate();
  for (std::vector<float>* bias : {&expert.gate_bias, &expert.up_bias}) {
    if (bias->empty()) continue;
    std::vector<float> part(neurons.count);
    take_neurons(bias->data(), 1, width, neurons, part.data());
    *bias = std::move(part);
  }
  if (expert.gate) expert.gate = select_columns(*expert.gate, neurons);
  expert.up = select_columns(expert.up, neurons);
  expert.down = select_rows(expert.down, neurons);
  return expert;
}

void activate_rows(const KernelContext& context, const ExpertParameters& expert, size_t rows, float* gate,
                   float* up) {
  const size_t width = expert.intermediate();
  const size_t chunk = std::max<size_t>(1, 16384 / width);
  context.parallel_for((rows + chunk - 1) / chunk, [&](size_t item) {
    const size_t begin = item * chunk, count = std::min(rows - begin, chunk);
    float* h = up + begin * width;
    add_bias(expert.up_bias, count, h);
    if (gate != nullptr) add_bias(expert.gate_bias, count, gate + begin * width);
    // Row by row: where a vector begins may show in the last bit.
    for (size_t row = 0; row < count; ++row)
      activate(expert.activation, width, gate == nullptr ? nullptr : gate + (begin + row) * width,
               h + row * width);
  });
}

void add_bias(const std::vector<float>& bias, size_t rows, float* y) {
  for (size_t row = 0; row < rows; ++row)
    for (size_t n = 0; n < bias.size(); ++n) y[row * bias.size() + n] += bias[n];
}

}  // namespace hetc
