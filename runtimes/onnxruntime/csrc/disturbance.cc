#include "disturbance.h"

#include <cmath>

#include "product.h"

namespace hetc {
namespace {

constexpr uint32_t kPurpose = 2;
// Conductance of one segment of wire over g_max, as in aihwkit.
constexpr float kWire = 571428.57f;
constexpr float kTiny = 1e-30f;

}  // namespace

DisturbedProducts::DisturbedProducts(const KernelContext& context, const Settings& settings,
                                     const Weight& weight, const ProgrammedMatrix* programmed,
                                     const std::vector<Slice>& slices, const Codes& codes, uint32_t stream)
    : settings_(settings),
      slices_(slices),
      columns_(weight.columns),
      key_(static_cast<uint64_t>(stream) << 32 | settings.device.read_seed) {
  const Disturbance& wanted = settings.disturbance;
  const size_t rows = codes.rows, inputs = codes.inputs;
  const bool additive = wanted.weight_noise > 0 && wanted.weight_noise_form == WeightNoise::kAdditive;
  const bool pcm_read = wanted.weight_noise > 0 && wanted.weight_noise_form == WeightNoise::kPcmRead;
  if (wanted.draws()) hashes_.resize(rows * slices.size());
  if (additive) norms_.resize(rows * slices.size());
  if (wanted.draws())
    context.parallel_for(rows, [&](size_t row) {
      for (size_t s = 0; s < slices.size(); ++s) {
        const auto [begin, end] = slices[s];
        const float* q = codes.values.data() + row * inputs + begin;
        hashes_[row * slices.size() + s] = vector_code().hash_values(q, end - begin, begin);
        double squares = 0;
        for (size_t k = 0; additive && k < end - begin; ++k) squares += static_cast<double>(q[k]) * q[k];
        if (additive) norms_[row * slices.size() + s] = static_cast<float>(std::sqrt(squares));
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
  if (pcm_read) product(true, &squares_, [](float q, size_t, size_t) { return q * q; });
  if (wanted.ir_drop > 0) {
    product(true, &currents_, [](float q, size_t, size_t) { return std::fabs(q); });
    product(false, &ramps_, [](float q, size_t j, size_t n) {
      const float left = 1.0f - static_cast<float>(j) / static_cast<float>(n);
      return q * (1.0f - left * left);
    });
  }
}

void DisturbedProducts::add(size_t slice, size_t row, size_t rows, size_t column, size_t columns,
                            const float* alpha, float* sums) const {
  const Disturbance& wanted = settings_.disturbance;
  const float levels = settings_.levels();
  const float length = static_cast<float>(slices_[slice].end - slices_[slice].begin);
  float z0[kGroupColumns], z1[kGroupColumns];
  for (size_t m = 0; m < rows; ++m) {
    const size_t vector = (row + m) * slices_.size() + slice;
    if (wanted.draws()) vector_code().draw_normals(key_, hashes_[vector], kPurpose, column, columns, z0, z1);
    for (size_t n = 0; n < columns; ++n) {
      if (alpha[n] < kTiny) continue;
      float delta = 0;
      const size_t at = entry(slice, row + m, column + n);
      if (wanted.ir_drop > 0) {
        const float a = length / kWire * currents_[at] / (levels * alpha[n]);
        delta -= wanted.ir_drop * (a * (a * (0.05f * a - 0.2f) + 0.5f)) * ramps_[at];
      }
      if (wanted.output_noise > 0) delta += wanted.output_noise * levels * alpha[n] * z0[n];
      if (!norms_.empty()) delta += wanted.weight_noise * alpha[n] * norms_[vector] * z1[n];
      if (!squares_.empty()) delta += wanted.weight_noise * std::sqrt(alpha[n] * squares_[at]) * z1[n];
      sums[m * kGroupColumns + n] += delta;
    }
  }
}

}  // namespace hetc
