// Recording, conversion and products of the vectors that enter at one place.
#include "crossbar/crossbar_input.h"

#include <vector>

#include "crossbar/product.h"
#include "crossbar/scales.h"
#include "crossbar/slices.h"
#include "crossbar/weight.h"

namespace hetc {

CrossbarInput::CrossbarInput(const KernelInfo& info, const Settings& settings, const CrossbarMatrix& first,
                             const Site& site)
    : settings_(settings), dac_{} {
  dac_.inputs = first.weight().rows;
  dac_.slices = split_rows(first.weight(), settings.tile_rows);
  dac_.numbers = first.weight().row_numbers;
  dac_.input_range = read_input_range(info, site.range, site.range_name, dac_.slices.size());
  dac_.stream = first.stream();
  if (!settings.stats_file.empty())
    recorder_.emplace(settings.stats_file, info.text("unit"), site.name,
                      split(first.weight().whole_rows, settings.tile_rows));
}

void CrossbarInput::record(const float* x, size_t rows) {
  if (recorder_) recorder_->add(x, rows);
}

void CrossbarInput::multiply(const KernelContext& context, const float* x, size_t rows,
                             std::initializer_list<Product> products) {
  if (settings_.mode == Mode::kExact) {
    for (const Product& product : products)
      multiply_exact(context, product.matrix->weight(), x, rows, product.y);
    return;
  }
  const Codes codes = convert(context, settings_, dac_, x, rows);
  for (const Product& product : products) product.matrix->multiply(context, codes, product.y);
}

}  // namespace hetc
