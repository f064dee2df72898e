#include "crossbar/codes.h"

#include <algorithm>
#include <cmath>

#include "vector/vector_code.h"

namespace hetc {

void convert_slice(const Settings& settings, const std::vector<Slice>& slices, size_t row, size_t index,
                   float range, Codes* codes) {
  const auto [begin, end] = slices[index];
  const float* x = codes->x + row * codes->inputs + begin;
  float* values = codes->values.data() + row * codes->inputs + begin;
  const VectorCode& code = vector_code();
  const float used = code.quantise(x, end - begin, range, settings.levels(), settings.dac_bits != 0, values);
  if (settings.rounds_randomly) {
    const uint64_t key = static_cast<uint64_t>(codes->stream) << 32 | settings.device.read_seed;
    const uint64_t hash = code.hash_values(values, end - begin, begin);
    code.quantise(x, end - begin, range, settings.levels(), false, values);
    code.round_randomly(key, hash, begin, end - begin, values);
  }
  codes->ranges[row * slices.size() + index] = std::isnan(used) ? 0.0f : used;
  if (std::isnan(used)) codes->spoiled[row] = 1;
}

Codes convert(const KernelContext& context, const Settings& settings, const float* x, size_t rows,
              size_t inputs, const std::vector<float>& input_range, uint32_t stream) {
  const std::vector<Slice> slices = split(inputs, settings.tile_rows);
  Codes codes{rows,
              inputs,
              settings.dac_bits >= 2 && settings.dac_bits <= 8,
              std::vector<float, UninitialisedFloats>(rows * inputs),
              std::vector<float>(rows * slices.size()),
              std::vector<unsigned char>(rows),
              x,
              stream};
  const size_t chunk = std::max<size_t>(1, 16384 / inputs);
  context.parallel_for((rows + chunk - 1) / chunk, [&](size_t item) {
    for (size_t row = item * chunk; row < std::min(rows, (item + 1) * chunk); ++row)
      for (size_t s = 0; s < slices.size(); ++s)
        convert_slice(settings, slices, row, s, input_range.empty() ? 0.0f : input_range[s], &codes);
  });
  return codes;
}

}  // namespace hetc
