// One product on crossbars, from codes to what the ADCs read; bounds managed where they are.
#include "crossbar/crossbar_matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "crossbar/programmed_cache.h"
#include "crossbar/scales.h"
#include "crossbar/weight.h"
#include "ort/attributes.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

constexpr float kTiny = 1e-30f;

uint32_t read_stream(const KernelInfo& info, const std::string& attribute) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  return static_cast<uint32_t>(integer_between(info, attribute.c_str(), 0, kMost));
}

}  // namespace

CrossbarMatrix::CrossbarMatrix(const KernelInfo& info, const Settings& settings, const Weight& weight,
                               const MatrixInputs& inputs)
    : settings_(settings),
      weight_(weight),
      name_(info.input_name(inputs.weight)),
      stream_(read_stream(info, std::string(inputs.prefix) + "stream")),
      slices_(split_rows(weight, settings.tile_rows)),
      adc_bound_(read_column_scales(info, inputs.adc_bound, std::string(inputs.prefix) + "adc_bound",
                                    slices_.size(), weight)),
      weight_scale_(read_column_scales(info, inputs.weight_scale, std::string(inputs.prefix) + "weight_scale",
                                       slices_.size(), weight)) {}

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
    for (const auto [begin, end] : split_columns(weight_, settings_.tile_columns))
      if (begin < end) std::fill(row + begin, row + end, *std::max_element(row + begin, row + end));
  }
  return tile_maxima_;
}

std::shared_ptr<const ProgrammedMatrix> CrossbarMatrix::programmed(const KernelContext& context) {
  const std::vector<float>& scale = settings_.scale_per_tile ? clean_scale(context) : weight_scale_;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (programmed_ != nullptr) return programmed_;
  ProgrammingRequest request{};
  request.name = name_;
  request.weight = weight_;
  request.slices = slices_;
  request.weight_scale = scale;
  request.noise = settings_.device.noise(stream_);
  request.compensation = settings_.device.compensation;
  request.tiles = split_columns(weight_, settings_.tile_columns);
  request.store = settings_.store;
  programmed_ = programmed_matrix(context, request);
  return programmed_;
}

CrossbarMatrix::GroupConstants CrossbarMatrix::constants(const Arrays& arrays, size_t slice,
                                                         const Block& block) const {
  GroupConstants group;
  const ProgrammedMatrix* matrix = arrays.programmed;
  const float limit = settings_.adc_limit(), levels = settings_.levels();
  for (size_t n = 0; n < block.columns; ++n) {
    const size_t entry = first_entry(slice, block) + n;
    group.column_scale[n] = matrix == nullptr ? 1.0f : matrix->column_scale[entry];
    const float factor =
        matrix == nullptr || matrix->compensation.empty() ? 1.0f : matrix->compensation[entry];
    group.step[n] = factor;
    if (settings_.adc_bits == 0) continue;
    const float bound = adc_bound_.empty() ? settings_.out_bound * arrays.alpha[entry] : adc_bound_[entry];
    group.to_code[n] = bound < kTiny ? 0.0f : limit / (levels * bound);
    group.step[n] = bound < kTiny ? 0.0f : bound / limit * factor;
  }
  return group;
}

std::optional<DisturbedProducts> CrossbarMatrix::disturbance(const KernelContext& context,
                                                             const Arrays& arrays, const Codes& codes) {
  if (!settings_.disturbs()) return {};
  const Disturbance& wanted = settings_.disturbance;
  const bool squares = wanted.weight_noise > 0 && wanted.weight_noise_form == WeightNoise::kPcmRead;
  const std::vector<float>& largest = arrays.programmed ? arrays.programmed->largest
                                      : squares         ? clean_maxima(context)
                                                        : maxima_;
  return std::optional<DisturbedProducts>(std::in_place, context, settings_, view(arrays), largest, codes,
                                          stream_);
}

template <typename Take>
void CrossbarMatrix::read_out(const KernelContext& context, const Arrays& arrays, const Codes& codes,
                              const Take& take) {
  const std::optional<DisturbedProducts> products = disturbance(context, arrays, codes);
  const auto before_adc = [&](size_t slice, const Block& block, const float* sums) {
    GroupConstants group = constants(arrays, slice, block);
    if (!products) return take(slice, block, &group, sums);
    std::vector<float> values(block.rows * kGroupColumns);
    const float* alpha = arrays.alpha.data() + first_entry(slice, block);
    products->disturb(slice, block, {group.column_scale, alpha}, sums, values.data());
    std::fill_n(group.column_scale, block.columns, 1.0f);
    take(slice, block, &group, values.data());
  };
  multiply_slices(context, view(arrays), {codes.values.data(), codes.rows, codes.small}, before_adc);
}

Codes CrossbarMatrix::manage_bounds(const KernelContext& context, const Arrays& arrays, Codes codes) {
  // aihwkit's limits: a factor of 1000, and a quarter of the DAC's levels.
  const float most = settings_.dac_bits == 0 ? 1000.0f : std::min(1000.0f, settings_.levels() / 4);
  const float limit = settings_.adc_limit();
  for (float factor = 2; factor <= most; factor *= 2) {
    const size_t groups = (weight_.columns + kGroupColumns - 1) / kGroupColumns;
    std::vector<unsigned char> clips(groups * codes.ranges.size());
    const auto take = [&](size_t slice, const Block& block, const GroupConstants* group, const float* sums) {
      for (size_t m = 0; m < block.rows; ++m)
        for (size_t n = 0; n < block.columns; ++n)
          if (std::fabs(std::rint(sums[m * kGroupColumns + n] * group->column_scale[n] * group->to_code[n])) >
              limit)
            clips[block.column / kGroupColumns * codes.ranges.size() + (block.row + m) * slices_.size() +
                  slice] = 1;
    };
    read_out(context, arrays, codes, take);
    bool clipped = false;
    for (size_t i = 0; i < clips.size(); ++i) {
      const size_t vector = i % codes.ranges.size();
      if (clips[i] == 0 || codes.ranges[vector] == 0.0f) continue;
      // Other groups of columns may ask for the same.
      for (size_t g = i; g < clips.size(); g += codes.ranges.size()) clips[g] = 0;
      convert_slice(settings_, vector / slices_.size(), vector % slices_.size(), 2 * codes.ranges[vector],
                    &codes);
      clipped = true;
    }
    if (!clipped) break;
  }
  return codes;
}

void CrossbarMatrix::multiply(const KernelContext& context, const Codes& given, float* y) {
  const std::shared_ptr<const ProgrammedMatrix> owner = settings_.programs() ? programmed(context) : nullptr;
  const bool needs_scale = (settings_.adc_bits != 0 && adc_bound_.empty()) || settings_.disturbs();
  const std::vector<float> none;
  const Arrays arrays{owner.get(), !needs_scale ? none : owner ? owner->alpha : clean_scale(context)};
  std::optional<Codes> managed;
  if (settings_.manages_bounds) managed = manage_bounds(context, arrays, given);
  const Codes& codes = managed ? *managed : given;
  const auto take = [&](size_t slice, const Block& block, GroupConstants* group, const float* sums) {
    if (settings_.adc_bits == 0)
      for (size_t n = 0; n < block.columns; ++n) group->column_scale[n] *= group->step[n];
    float* target = y + block.row * weight_.columns + block.column;
    if (slice == 0)
      for (size_t m = 0; m < block.rows; ++m) std::fill_n(target + m * weight_.columns, block.columns, 0.0f);
    Digitiser adc{};
    adc.column_scale = group->column_scale;
    adc.to_code = group->to_code;
    adc.step = group->step;
    adc.limit = settings_.adc_limit();
    adc.levels = settings_.levels();
    vector_code().digitise(adc, sums, block.rows, block.columns,
                           codes.ranges.data() + block.row * slices_.size() + slice, slices_.size(), target,
                           weight_.columns);
  };
  read_out(context, arrays, codes, take);
  for (size_t row = 0; row < codes.rows; ++row)
    if (codes.spoiled[row] != 0)
      std::fill_n(y + row * weight_.columns, weight_.columns, std::numeric_limits<float>::quiet_NaN());
}

}  // namespace hetc
