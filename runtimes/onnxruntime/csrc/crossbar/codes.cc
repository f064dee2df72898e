// Slices of vectors go through the DAC, which rounds in vector/converters.inc.
#include "crossbar/codes.h"

#include <algorithm>
#include <cmath>

#include "vector/vector_code.h"

namespace hetc {

void convert_slice(const Settings& settings, size_t row, size_t index, float range, Codes* codes) {
  const auto [begin, end] = codes->slices[index];
  if (begin == end) return;  // the range stays 0
  const float* x = codes->x + row * codes->inputs + begin;
  float* values = codes->values.data() + row * codes->inputs + begin;
  const VectorCode& code = vector_code();
  const float used = code.quantise(x, end - begin, range, settings.levels(), settings.dac_bits != 0, values);
  if (settings.rounds_randomly) {
    const uint64_t key = static_cast<uint64_t>(codes->stream) << 32 | settings.device.read_seed;
    const uint64_t hash = code.hash_values(values, end - begin, codes->numbers, begin);
    code.quantise(x, end - begin, range, settings.levels(), false, values);
    code.round_randomly(key, hash, codes->numbers, begin, end - begin, values);
  }
  codes->ranges[row * codes->slices.size() + index] = std::isnan(used) ? 0.0f : used;
  if (std::isnan(used)) codes->spoiled[row] = 1;
}

Codes convert(const KernelContext& context, const Settings& settings, const Dac& dac, const float* x,
              size_t rows) {
  Codes codes{};
  codes.x = x;
  codes.rows = rows;
  codes.inputs = dac.inputs;
  codes.slices = dac.slices;
  codes.numbers = dac.numbers;
  codes.stream = dac.stream;
  codes.small = settings.dac_bits >= 2 && settings.dac_bits <= 8;
  codes.values.resize(rows * dac.inputs);
  codes.ranges.resize(rows * codes.slices.size());
  codes.spoiled.resize(rows);
  const size_t chunk = std::max<size_t>(1, 16384 / dac.inputs);
  context.parallel_for((rows + chunk - 1) / chunk, [&](size_t item) {
    for (size_t row = item * chunk; row < std::min(rows, (item + 1) * chunk); ++row)
      for (size_t s = 0; s < codes.slices.size(); ++s)
        convert_slice(settings, row, s, dac.input_range.empty() ? 0.0f : dac.input_range[s], &codes);
  });
  return codes;
}

}  // namespace hetc
