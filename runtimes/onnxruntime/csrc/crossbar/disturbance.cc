#include "crossbar/disturbance.h"

#include <algorithm>
#include <cmath>

#include "crossbar/product.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

// Conductance of one segment of wire over g_max, as in aihwkit.
constexpr float kWire = 571428.57f;
constexpr float kTiny = 1e-30f;

}  // namespace

DisturbedProducts::DisturbedProducts(const KernelContext& context, const Settings& settings,
                                     const Weight& weight, const ProgrammedMatrix* programmed,
                                     const std::vector<float>& largest, const std::vector<Slice>& slices,
                                     const Codes& codes, uint32_t stream)
    : settings_(settings),
      slices_(slices),
      columns_(weight.columns),
      key_(static_cast<uint64_t>(stream) << 32 | settings.device.read_seed) {
  const Disturbance& wanted = settings.disturbance;
  const size_t rows = codes.rows, inputs = codes.inputs;
  const bool additive = wanted.weight_noise > 0 && wanted.weight_noise_form == WeightNoise::kAdditive;
  if (wanted.weight_noise > 0 && !additive)
    squared_.emplace(context, weight, programmed, largest, slices, codes);
  if (wanted.draws()) hashes_.resize(rows * slices.size());
  if (additive) norms_.resize(rows * slices.size());
  if (wanted.draws())
    context.parallel_for(rows, [&](size_t row) {
      for (size_t s = 0; s < slices.size(); ++s) {
        const auto [begin, end] = slices[s];
        const float* q = codes.values.data() + row * inputs + begin;
        hashes_[row * slices.size() + s] = vector_code().hash_values(q, end - begin, begin);
        if (additive) norms_[row * slices.size() + s] = vector_code().sum_of_squares(q, end - begin);
      }
    });

  // sums = change(q, position in the slice, length of the slice) times w or |w|.
  std::vector<float> changed;
  const auto product = [&](bool magnitudes, std::vector<float>* sums, const auto& change) {
    changed.resize(rows * inputs);
    sums->resize(rows * slices.size() * columns_);
    for (size_t row = 0; row < rows; ++row)
      for (const auto [begin, end] : slices)
        for (size_t k = begin; k < end; ++k)
          changed[row * inputs + k] = change(codes.values[row * inputs + k], k - begin, end - begin);
    const auto take = [&](size_t slice, size_t row, size_t count, size_t column, size_t columns,
                          const float* block) {
      for (size_t m = 0; m < count; ++m)
        for (size_t n = 0; n < columns; ++n) {
          const size_t table = slice * padded(columns_) + column + n;
          (*sums)[entry(slice, row + m, column + n)] =
              block[m * kGroupColumns + n] * (programmed ? programmed->column_scale[table] : 1.0f);
        }
    };
    if (magnitudes) {
      multiply_magnitudes(context, weight, programmed, slices, changed.data(), rows, take);
    } else {
      multiply_slices(context, weight, programmed, slices, changed.data(), rows, false, take);
    }
  };
  if (wanted.ir_drop > 0) {
    product(true, &currents_, [](float q, size_t, size_t) { return std::fabs(q); });
    product(false, &ramps_, [](float q, size_t j, size_t n) {
      const float left = 1.0f - static_cast<float>(j) / static_cast<float>(n);
      return q * (1.0f - left * left);
    });
  }
}

// Subtracts the IR drop of one row from values[kGroupColumns].
void DisturbedProducts::drop_voltage(size_t slice, size_t row, size_t column, size_t columns,
                                     const float* alpha, float* values) const {
  const float length = static_cast<float>(slices_[slice].end - slices_[slice].begin);
  for (size_t n = 0; n < columns; ++n) {
    if (alpha[n] < kTiny) continue;
    const size_t at = entry(slice, row, column + n);
    const float i = length / kWire * currents_[at] / (settings_.levels() * alpha[n]);
    values[n] -= settings_.disturbance.ir_drop * (i * (i * (0.05f * i - 0.2f) + 0.5f)) * ramps_[at];
  }
}

void DisturbedProducts::disturb(size_t slice, size_t row, size_t rows, size_t column, size_t columns,
                                const float* column_scale, const float* alpha, const float* sums,
                                float* values) const {
  const Disturbance& wanted = settings_.disturbance;
  const float output = wanted.output_noise * settings_.levels(), weight = wanted.weight_noise;
  float scale[kGroupColumns] = {}, noisy[kGroupColumns] = {};  // what is missing to a full group is 0
  std::copy(column_scale, column_scale + columns, scale);
  for (size_t n = 0; n < columns; ++n) noisy[n] = alpha[n] < kTiny ? 0.0f : alpha[n];
  std::vector<float> squares(squared_ ? rows * kGroupColumns : 0);
  if (squared_) squared_->multiply(slice, row, rows, column, columns, squares.data());
  for (size_t m = 0; m < rows; ++m) {
    float* target = values + m * kGroupColumns;
    const float* source = sums + m * kGroupColumns;
    if (wanted.draws()) {
      const size_t vector = (row + m) * slices_.size() + slice;
      const float fixed = output * output + (norms_.empty() ? 0.0f : weight * weight * norms_[vector]);
      vector_code().add_noise({key_, hashes_[vector], column, scale, noisy, fixed, weight * weight,
                               squared_ ? squares.data() + m * kGroupColumns : nullptr},
                              source, target);
    } else {
      for (size_t n = 0; n < kGroupColumns; ++n) target[n] = source[n] * scale[n];
    }
    if (wanted.ir_drop > 0) drop_voltage(slice, row + m, column, columns, alpha, target);
  }
}

}  // namespace hetc
