// Ranks become lists of neurons, and lists parts of matrices and vectors.
#include "crossbar/placement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "ort/status.h"
#include "ort/tensor.h"

namespace hetc {
namespace {

Neurons all_neurons(size_t count) { return {count, {}}; }

Neurons listed(std::vector<uint32_t> numbers) {
  const size_t count = numbers.size();
  numbers.resize(count + kPanelColumns);
  return {count, std::move(numbers)};
}

Placement read_placement(const KernelInfo& info, const RankInput& input, int64_t digital_count) {
  const std::string name = input.name;
  const std::optional<Tensor> tensor = info.constant(input.index, name);
  if (!tensor) return {all_neurons(input.neurons), listed({})};
  if (tensor->type != ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32)
    throw Error(name + " is " + type_name(tensor->type) + "; allowed: int32");
  const std::vector<int64_t> shape{static_cast<int64_t>(input.neurons)};
  if (tensor->shape != shape)
    throw Error(name + " has shape " + shape_text(tensor->shape) + "; allowed: " + shape_text(shape) +
                ", one rank per neuron");
  const auto* ranks = static_cast<const int32_t*>(tensor->data);
  std::vector<uint32_t> analog, digital;
  for (size_t i = 0; i < input.neurons; ++i) {
    if (ranks[i] < 0) throw Error(name + " has the value " + std::to_string(ranks[i]) + "; allowed: >= 0");
    (ranks[i] < digital_count ? digital : analog).push_back(static_cast<uint32_t>(i));
  }
  if (digital.empty()) return {all_neurons(input.neurons), listed({})};
  return {listed(std::move(analog)), listed(std::move(digital))};
}

}  // namespace

std::vector<Placement> read_placements(const KernelInfo& info, std::initializer_list<RankInput> inputs,
                                       Settings* settings) {
  std::vector<Placement> placements;
  bool ranked = false, all_digital = true;
  for (const RankInput& input : inputs) {
    placements.push_back(read_placement(info, input, settings->digital_count));
    if (info.input_name(input.index).empty()) continue;
    ranked = true;
    all_digital = all_digital && placements.back().analog.count == 0;
  }
  if (ranked && all_digital) settings->mode = Mode::kExact;
  if (settings->mode != Mode::kExact) return placements;
  placements.clear();
  for (const RankInput& input : inputs) placements.push_back({all_neurons(input.neurons), listed({})});
  return placements;
}

Weight select_rows(Weight weight, const Neurons& neurons) {
  weight.rows = neurons.count;
  weight.row_numbers = neurons.list();
  return weight;
}

Weight select_columns(Weight weight, const Neurons& neurons) {
  weight.columns = neurons.count;
  weight.column_numbers = neurons.list();
  return weight;
}

void take_neurons(const float* whole, size_t rows, size_t width, const Neurons& neurons, float* part) {
  for (size_t row = 0; row < rows; ++row)
    for (size_t i = 0; i < neurons.count; ++i)
      part[row * neurons.count + i] = whole[row * width + number(neurons.list(), i)];
}

void put_neurons(const float* part, size_t rows, size_t width, const Neurons& neurons, float* whole) {
  for (size_t row = 0; row < rows; ++row)
    for (size_t i = 0; i < neurons.count; ++i)
      whole[row * width + number(neurons.list(), i)] = part[row * neurons.count + i];
}

void spread_not_finite(const float* x, size_t rows, size_t inputs, size_t outputs, float* y) {
  for (size_t row = 0; row < rows; ++row) {
    const float* begin = x + row * inputs;
    if (!std::all_of(begin, begin + inputs, [](float value) { return std::isfinite(value); }))
      std::fill_n(y + row * outputs, outputs, std::numeric_limits<float>::quiet_NaN());
  }
}

}  // namespace hetc
