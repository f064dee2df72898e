#include "crossbar/crossbar_matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "crossbar/product.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

constexpr float kTiny = 1e-30f;

// Constant float32 values that must be finite and not negative (or, if `positive`, above 0).
std::vector<float> read_scales(const Tensor& tensor, const std::string& name, bool positive) {
  if (tensor.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
    throw Error(name + " is " + type_name(tensor.type) + "; allowed: float32");
  const float* values = static_cast<const float*>(tensor.data);
  std::vector<float> scales(values, values + tensor.size());
  for (float value : scales)
    if (!std::isfinite(value) || value < 0 || (positive && value == 0))
      throw Error(name + " has the value " + std::to_string(value) + "; allowed: finite and " +
                  (positive ? "> 0" : ">= 0"));
  return scales;
}

// An optional [S, N] or [S, 1] input, spread over [S, padded columns].
std::vector<float> read_column_scales(const KernelInfo& info, size_t index, const std::string& name,
                                      size_t slices, size_t columns) {
  const std::optional<Tensor> tensor = info.constant(index, name);
  if (!tensor) return {};
  const auto rows = static_cast<int64_t>(slices), wide = static_cast<int64_t>(columns);
  const bool per_column = tensor->shape == std::vector<int64_t>{rows, wide};
  if (!per_column && tensor->shape != std::vector<int64_t>{rows, 1})
    throw Error(name + " has shape " + shape_text(tensor->shape) + "; allowed: " + shape_text({rows, wide}) +
                " or " + shape_text({rows, 1}));
  const std::vector<float> values = read_scales(*tensor, name, false);
  std::vector<float> spread(slices * padded(columns));
  for (size_t s = 0; s < slices; ++s)
    for (size_t n = 0; n < columns; ++n)
      spread[s * padded(columns) + n] = values[per_column ? s * columns + n : s];
  return spread;
}

}  // namespace

Weight read_weight(const KernelInfo& info, size_t index, const std::string& name, bool transposed) {
  const std::optional<Tensor> tensor = info.constant(index, name);
  if (!tensor) throw Error(name + " is missing");
  const ElementType type = element_type(tensor->type, name);
  if (tensor->shape.size() != 2 || tensor->shape[0] < 1 || tensor->shape[1] < 1)
    throw Error(name + " has shape " + shape_text(tensor->shape) + "; allowed: two dimensions of at least 1");
  const auto first = static_cast<size_t>(tensor->shape[0]), second = static_cast<size_t>(tensor->shape[1]);
  return {tensor->data, type, transposed ? second : first, transposed ? first : second, transposed};
}

std::vector<float> read_input_range(const KernelInfo& info, size_t index, const std::string& name,
                                    size_t slices) {
  const std::optional<Tensor> tensor = info.constant(index, name);
  if (!tensor) return {};
  if (tensor->shape != std::vector<int64_t>{static_cast<int64_t>(slices)})
    throw Error(name + " has shape " + shape_text(tensor->shape) +
                "; allowed: " + shape_text({static_cast<int64_t>(slices)}) + ", one range per K-slice");
  return read_scales(*tensor, name, true);
}

void multiply_exact(const KernelContext& context, const Weight& weight, const float* x, size_t rows,
                    float* y) {
  // Sums of partial sums: a single chain over all inputs would lose digits that a blocked product keeps.
  constexpr size_t kPartialSum = 256;
  const auto take = [&](size_t slice, size_t row, size_t count, size_t column, size_t columns,
                        const float* sums) {
    for (size_t m = 0; m < count; ++m) {
      float* target = y + (row + m) * weight.columns + column;
      const float* source = sums + m * kGroupColumns;
      for (size_t n = 0; n < columns; ++n) target[n] = slice == 0 ? source[n] : target[n] + source[n];
    }
  };
  multiply_slices(context, weight, nullptr, split(weight.rows, kPartialSum), x, rows, false, take);
}

CrossbarMatrix::CrossbarMatrix(const KernelInfo& info, const Settings& settings, const Weight& weight,
                               const std::string& name, const std::string& prefix, uint32_t stream,
                               size_t adc_bound, size_t weight_scale)
    : settings_(settings),
      weight_(weight),
      name_(name),
      stream_(stream),
      slices_(split(weight.rows, settings.tile_rows)),
      adc_bound_(read_column_scales(info, adc_bound, prefix + "adc_bound", slices_.size(), weight.columns)),
      weight_scale_(
          read_column_scales(info, weight_scale, prefix + "weight_scale", slices_.size(), weight.columns)) {}

const std::vector<float>& CrossbarMatrix::clean_maxima(const KernelContext& context) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (maxima_.empty()) maxima_ = column_maxima(context, name_, weight_, slices_);
  return maxima_;
}

const std::vector<float>& CrossbarMatrix::clean_scale(const KernelContext& context) {
  if (!weight_scale_.empty()) return weight_scale_;
  const std::vector<float>& maxima = clean_maxima(context);
  if (!settings_.scale_per_tile) return maxima;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!tile_maxima_.empty()) return tile_maxima_;
  tile_maxima_ = maxima;
  for (size_t s = 0; s < slices_.size(); ++s) {
    float* row = tile_maxima_.data() + s * padded(weight_.columns);
    for (const auto [begin, end] : split(weight_.columns, settings_.tile_columns))
      std::fill(row + begin, row + end, *std::max_element(row + begin, row + end));
  }
  return tile_maxima_;
}

std::shared_ptr<const ProgrammedMatrix> CrossbarMatrix::programmed(const KernelContext& context) {
  const std::vector<float>& scale = settings_.scale_per_tile ? clean_scale(context) : weight_scale_;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (programmed_ == nullptr)
    programmed_ =
        programmed_matrix(context, {name_, weight_, slices_, scale, settings_.device.noise(stream_),
                                    settings_.device.compensation, settings_.tile_columns, settings_.store});
  return programmed_;
}

CrossbarMatrix::GroupConstants CrossbarMatrix::constants(const ProgrammedMatrix* matrix,
                                                         const std::vector<float>& alpha, size_t slice,
                                                         size_t column, size_t columns) const {
  GroupConstants group;
  const float limit = settings_.adc_limit(), levels = settings_.levels();
  for (size_t n = 0; n < columns; ++n) {
    const size_t entry = slice * padded(weight_.columns) + column + n;
    group.column_scale[n] = matrix == nullptr ? 1.0f : matrix->column_scale[entry];
    const float factor =
        matrix == nullptr || matrix->compensation.empty() ? 1.0f : matrix->compensation[entry];
    group.step[n] = factor;
    if (settings_.adc_bits == 0) continue;
    const float bound = adc_bound_.empty() ? settings_.out_bound * alpha[entry] : adc_bound_[entry];
    group.to_code[n] = bound < kTiny ? 0.0f : limit / (levels * bound);
    group.step[n] = bound < kTiny ? 0.0f : bound / limit * factor;
  }
  return group;
}

std::optional<DisturbedProducts> CrossbarMatrix::disturbance(const KernelContext& context,
                                                             const ProgrammedMatrix* matrix,
                                                             const Codes& codes) {
  if (!settings_.disturbs()) return {};
  const Disturbance& wanted = settings_.disturbance;
  const bool squares = wanted.weight_noise > 0 && wanted.weight_noise_form == WeightNoise::kPcmRead;
  const std::vector<float>& largest = matrix ? matrix->largest : squares ? clean_maxima(context) : maxima_;
  return std::optional<DisturbedProducts>(std::in_place, context, settings_, weight_, matrix, largest,
                                          slices_, codes, stream_);
}

Codes CrossbarMatrix::manage_bounds(const KernelContext& context, const ProgrammedMatrix* matrix,
                                    const std::vector<float>& alpha, Codes codes) {
  // aihwkit's limits: a factor of 1000, and a quarter of the DAC's levels.
  const float most = settings_.dac_bits == 0 ? 1000.0f : std::min(1000.0f, settings_.levels() / 4);
  const float limit = settings_.adc_limit();
  for (float factor = 2; factor <= most; factor *= 2) {
    const std::optional<DisturbedProducts> products = disturbance(context, matrix, codes);
    const size_t groups = (weight_.columns + kGroupColumns - 1) / kGroupColumns;
    std::vector<unsigned char> clips(groups * codes.ranges.size());
    const auto take = [&](size_t slice, size_t row, size_t rows, size_t column, size_t columns,
                          const float* sums) {
      GroupConstants group = constants(matrix, alpha, slice, column, columns);
      std::vector<float> values(rows * kGroupColumns);
      if (products) {
        products->disturb(slice, row, rows, column, columns, group.column_scale,
                          alpha.data() + slice * padded(weight_.columns) + column, sums, values.data());
        std::fill_n(group.column_scale, columns, 1.0f);
        sums = values.data();
      }
      for (size_t m = 0; m < rows; ++m)
        for (size_t n = 0; n < columns; ++n)
          if (std::fabs(std::rint(sums[m * kGroupColumns + n] * group.column_scale[n] * group.to_code[n])) >
              limit)
            clips[column / kGroupColumns * codes.ranges.size() + (row + m) * slices_.size() + slice] = 1;
    };
    multiply_slices(context, weight_, matrix, slices_, codes.values.data(), codes.rows, codes.small, take);
    bool clipped = false;
    for (size_t i = 0; i < clips.size(); ++i) {
      const size_t vector = i % codes.ranges.size();
      if (clips[i] == 0 || codes.ranges[vector] == 0.0f) continue;
      // Other groups of columns may ask for the same.
      for (size_t g = i; g < clips.size(); g += codes.ranges.size()) clips[g] = 0;
      convert_slice(settings_, slices_, vector / slices_.size(), vector % slices_.size(),
                    2 * codes.ranges[vector], &codes);
      clipped = true;
    }
    if (!clipped) break;
  }
  return codes;
}

void CrossbarMatrix::multiply(const KernelContext& context, const Codes& given, float* y) {
  const std::shared_ptr<const ProgrammedMatrix> owner = settings_.programs() ? programmed(context) : nullptr;
  const ProgrammedMatrix* matrix = owner.get();
  const bool needs_scale = (settings_.adc_bits != 0 && adc_bound_.empty()) || settings_.disturbs();
  const std::vector<float> none;
  const std::vector<float>& alpha = !needs_scale ? none : matrix ? matrix->alpha : clean_scale(context);
  std::optional<Codes> managed;
  if (settings_.manages_bounds) managed = manage_bounds(context, matrix, alpha, given);
  const Codes& codes = managed ? *managed : given;
  const std::optional<DisturbedProducts> products = disturbance(context, matrix, codes);
  const auto take = [&](size_t slice, size_t row, size_t rows, size_t column, size_t columns,
                        const float* sums) {
    GroupConstants group = constants(matrix, alpha, slice, column, columns);
    std::vector<float> values(products ? rows * kGroupColumns : 0);
    if (products) {
      products->disturb(slice, row, rows, column, columns, group.column_scale,
                        alpha.data() + slice * padded(weight_.columns) + column, sums, values.data());
      std::fill_n(group.column_scale, columns, 1.0f);
      sums = values.data();
    }
    if (settings_.adc_bits == 0)
      for (size_t n = 0; n < columns; ++n) group.column_scale[n] *= group.step[n];
    float* target = y + row * weight_.columns + column;
    if (slice == 0)
      for (size_t m = 0; m < rows; ++m) std::fill_n(target + m * weight_.columns, columns, 0.0f);
    vector_code().digitise(
        {group.column_scale, group.to_code, group.step, settings_.adc_limit(), settings_.levels()}, sums,
        rows, columns, codes.ranges.data() + row * slices_.size() + slice, slices_.size(), target,
        weight_.columns);
  };
  multiply_slices(context, weight_, matrix, slices_, codes.values.data(), codes.rows, codes.small, take);
  for (size_t row = 0; row < codes.rows; ++row)
    if (codes.spoiled[row] != 0)
      std::fill_n(y + row * weight_.columns, weight_.columns, std::numeric_limits<float>::quiet_NaN());
}

}  // namespace hetc
