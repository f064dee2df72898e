#include "crossbar.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "product.h"

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

Codes convert(const KernelContext& context, const Settings& settings, const float* x, size_t rows,
              size_t inputs, const std::vector<float>& input_range) {
  const std::vector<Slice> slices = split(inputs, settings.tile_rows);
  Codes codes{rows, inputs, std::vector<float>(rows * inputs), std::vector<float>(rows * slices.size()),
              std::vector<unsigned char>(rows)};
  const size_t chunk = std::max<size_t>(1, 16384 / inputs);
  context.parallel_for((rows + chunk - 1) / chunk, [&](size_t item) {
    for (size_t row = item * chunk; row < std::min(rows, (item + 1) * chunk); ++row) {
      for (size_t s = 0; s < slices.size(); ++s) {
        const auto [begin, end] = slices[s];
        const size_t offset = row * inputs + begin;
        const float range = input_range.empty() ? 0.0f : input_range[s];
        const float used = vector_code().quantise(x + offset, end - begin, range, settings.levels(),
                                                  settings.dac_bits != 0, codes.values.data() + offset);
        codes.ranges[row * slices.size() + s] = std::isnan(used) ? 0.0f : used;
        if (std::isnan(used)) codes.spoiled[row] = 1;
      }
    }
  });
  return codes;
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
  multiply_slices(context, weight, nullptr, split(weight.rows, kPartialSum), x, rows, take);
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

const std::vector<float>& CrossbarMatrix::clean_scale(const KernelContext& context) {
  if (!weight_scale_.empty()) return weight_scale_;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (maxima_.empty()) maxima_ = column_maxima(context, name_, weight_, slices_);
  return maxima_;
}

std::shared_ptr<const ProgrammedMatrix> CrossbarMatrix::programmed(const KernelContext& context) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (programmed_ == nullptr) {
    const Noise noise{settings_.noise_form,
                      settings_.noise_sigma.data(),
                      settings_.noise_sigma.size(),
                      settings_.noise_scale,
                      settings_.seed,
                      stream_};
    programmed_ =
        programmed_matrix(context, {name_, weight_, slices_, weight_scale_, noise, settings_.store});
  }
  return programmed_;
}

void CrossbarMatrix::multiply(const KernelContext& context, const Codes& codes, float* y) {
  const bool noisy = settings_.mode == Mode::kNoisy;
  const std::shared_ptr<const ProgrammedMatrix> matrix = noisy ? programmed(context) : nullptr;
  const bool needs_scale = settings_.adc_bits != 0 && adc_bound_.empty();
  const std::vector<float> none;
  const std::vector<float>& alpha = !needs_scale ? none : noisy ? matrix->alpha : clean_scale(context);
  const size_t width = padded(weight_.columns);
  const auto take = [&](size_t slice, size_t row, size_t rows, size_t column, size_t columns,
                        const float* sums) {
    float column_scale[kGroupColumns], to_code[kGroupColumns], step[kGroupColumns];
    const float limit = settings_.adc_limit(), levels = settings_.levels();
    for (size_t n = 0; n < columns; ++n) {
      const size_t entry = slice * width + column + n;
      column_scale[n] = noisy ? matrix->column_scale[entry] : 1.0f;
      if (settings_.adc_bits == 0) continue;
      const float bound = adc_bound_.empty() ? settings_.out_bound * alpha[entry] : adc_bound_[entry];
      to_code[n] = bound < kTiny ? 0.0f : limit / (levels * bound);
      step[n] = bound < kTiny ? 0.0f : bound / limit;
    }
    float* target = y + row * weight_.columns + column;
    if (slice == 0)
      for (size_t m = 0; m < rows; ++m) std::fill_n(target + m * weight_.columns, columns, 0.0f);
    vector_code().digitise({column_scale, to_code, step, limit, levels}, sums, rows, columns,
                           codes.ranges.data() + row * slices_.size() + slice, slices_.size(), target,
                           weight_.columns);
  };
  multiply_slices(context, weight_, matrix.get(), slices_, codes.values.data(), codes.rows, take);
  for (size_t row = 0; row < codes.rows; ++row)
    if (codes.spoiled[row] != 0)
      std::fill_n(y + row * weight_.columns, weight_.columns, std::numeric_limits<float>::quiet_NaN());
}

}  // namespace hetc
