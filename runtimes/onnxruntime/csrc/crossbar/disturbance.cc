// IR drop and noise of one product, after docs/operators.md, "Disturbance of a product".
#include "crossbar/disturbance.h"

#include <algorithm>
#include <cmath>

#include "vector/vector_code.h"

namespace hetc {
namespace {

// Conductance of one segment of wire over g_max, as in aihwkit.
constexpr float kWire = 571428.57f;
constexpr float kTiny = 1e-30f;

}  // namespace

DisturbedProducts::DisturbedProducts(const KernelContext& context, const Settings& settings,
                                     const MatrixView& matrix, const std::vector<float>& largest,
                                     const Codes& codes, uint32_t stream)
    : settings_(settings),
      matrix_(matrix),
      key_(static_cast<uint64_t>(stream) << 32 | settings.device.read_seed) {
  const Disturbance& wanted = settings.disturbance;
  const std::vector<Slice>& slices = matrix.slices;
  const size_t rows = codes.rows, inputs = codes.inputs;
  const bool additive = wanted.weight_noise > 0 && wanted.weight_noise_form == WeightNoise::kAdditive;
  if (wanted.weight_noise > 0 && !additive) squared_.emplace(context, matrix, largest, codes);
  if (wanted.draws()) hashes_.resize(rows * slices.size());
  if (additive) norms_.resize(rows * slices.size());
  if (wanted.draws())
    context.parallel_for(rows, [&](size_t row) {
      for (size_t s = 0; s < slices.size(); ++s) {
        const auto [begin, end] = slices[s];
        const float* q = codes.values.data() + row * inputs + begin;
        hashes_[row * slices.size() + s] =
            vector_code().hash_values(q, end - begin, matrix.weight.row_numbers, begin);
        if (additive) norms_[row * slices.size() + s] = vector_code().sum_of_squares(q, end - begin);
      }
    });
  if (wanted.ir_drop > 0) find_currents(context, codes);
}

void DisturbedProducts::find_currents(const KernelContext& context, const Codes& codes) {
  const size_t rows = codes.rows, inputs = codes.inputs, columns = matrix_.weight.columns;
  const ProgrammedMatrix* programmed = matrix_.programmed;
  std::vector<float> changed(rows * inputs);
  // changed = change(q, position in the slice, length of the slice)
  const auto change_codes = [&](const auto& change) {
    for (size_t row = 0; row < rows; ++row)
      for (const auto [begin, end] : matrix_.slices)
        for (size_t k = begin; k < end; ++k)
          changed[row * inputs + k] = change(codes.values[row * inputs + k], k - begin, end - begin);
  };
  const auto kept_in = [&](std::vector<float>* sums) {
    sums->resize(rows * matrix_.slices.size() * columns);
    return [this, sums, programmed, columns](size_t slice, const Block& block, const float* products) {
      for (size_t m = 0; m < block.rows; ++m)
        for (size_t n = 0; n < block.columns; ++n) {
          const size_t table = slice * padded(columns) + block.column + n;
          (*sums)[entry(slice, block.row + m, block.column + n)] =
              products[m * kGroupColumns + n] * (programmed ? programmed->column_scale[table] : 1.0f);
        }
    };
  };
  change_codes([](float q, size_t, size_t) { return std::fabs(q); });
  multiply_magnitudes(context, matrix_, {changed.data(), rows, false}, kept_in(&currents_));
  change_codes([](float q, size_t j, size_t n) {
    const float left = 1.0f - static_cast<float>(j) / static_cast<float>(n);
    return q * (1.0f - left * left);
  });
  multiply_slices(context, matrix_, {changed.data(), rows, false}, kept_in(&ramps_));
}

void DisturbedProducts::drop_voltage(size_t slice, size_t row, const Block& block, const float* alpha,
                                     float* values) const {
  const float length = static_cast<float>(matrix_.slices[slice].end - matrix_.slices[slice].begin);
  for (size_t n = 0; n < block.columns; ++n) {
    if (alpha[n] < kTiny) continue;
    const size_t at = entry(slice, row, block.column + n);
    const float i = length / kWire * currents_[at] / (settings_.levels() * alpha[n]);
    values[n] -= settings_.disturbance.ir_drop * (i * (i * (0.05f * i - 0.2f) + 0.5f)) * ramps_[at];
  }
}

void DisturbedProducts::disturb(size_t slice, const Block& block, const ColumnScales& scales,
                                const float* sums, float* values) const {
  const Disturbance& wanted = settings_.disturbance;
  const float output = wanted.output_noise * settings_.levels(), weight = wanted.weight_noise;
  float stored[kGroupColumns] = {}, alpha[kGroupColumns] = {};  // what is missing to a full group is 0
  std::copy(scales.stored, scales.stored + block.columns, stored);
  for (size_t n = 0; n < block.columns; ++n) alpha[n] = scales.alpha[n] < kTiny ? 0.0f : scales.alpha[n];
  std::vector<float> squares(squared_ ? block.rows * kGroupColumns : 0);
  if (squared_) squared_->multiply(slice, block, alpha, squares.data());
  for (size_t m = 0; m < block.rows; ++m) {
    float* target = values + m * kGroupColumns;
    const float* source = sums + m * kGroupColumns;
    if (wanted.draws()) {
      const size_t vector = (block.row + m) * matrix_.slices.size() + slice;
      ProductNoise noise{};
      noise.key = key_;
      noise.hash = hashes_[vector];
      noise.column = block.column;
      noise.columns = block.columns;
      noise.numbers = matrix_.weight.column_numbers;
      noise.column_scale = stored;
      noise.alpha = alpha;
      noise.fixed = output * output + (norms_.empty() ? 0.0f : weight * weight * norms_[vector]);
      noise.read = weight * weight;
      noise.squares = squared_ ? squares.data() + m * kGroupColumns : nullptr;
      vector_code().add_noise(noise, source, target);
    } else {
      for (size_t n = 0; n < kGroupColumns; ++n) target[n] = source[n] * stored[n];
    }
    if (wanted.ir_drop > 0) drop_voltage(slice, block.row + m, block, scales.alpha, target);
  }
}

}  // namespace hetc
