// The packed copy of a part of a matrix: rows of inputs, in the type of the whole one.
#include "crossbar/digital_matrix.h"

#include <algorithm>
#include <cstdint>

#include "crossbar/product.h"

namespace hetc {
namespace {

bool is_part_of_stored_rows(const Weight& weight) {
  return (weight.transposed ? weight.row_numbers : weight.column_numbers) != nullptr;
}

// A part that is a whole matrix, stored [rows, columns], but for its data.
Weight as_whole(Weight weight) {
  weight.transposed = false;
  weight.whole_rows = weight.rows;
  weight.whole_columns = weight.columns;
  weight.row_numbers = weight.column_numbers = nullptr;
  return weight;
}

template <typename Element>
void pack(const KernelContext& context, const Weight& weight, unsigned char* packed) {
  constexpr size_t kChunk = 64;  // columns: what is stored side by side is read, or written, by one thread
  const size_t row_stride = weight.transposed ? 1 : weight.whole_columns;
  const size_t column_stride = weight.transposed ? weight.whole_rows : 1;
  const auto* source = static_cast<const Element*>(weight.data);
  auto* target = reinterpret_cast<Element*>(packed);
  context.parallel_for((weight.columns + kChunk - 1) / kChunk, [&](size_t item) {
    const size_t begin = item * kChunk, end = std::min(begin + kChunk, weight.columns);
    const auto copy = [&](size_t row, size_t column) {
      target[row * weight.columns + column] = source[number(weight.row_numbers, row) * row_stride +
                                                     number(weight.column_numbers, column) * column_stride];
    };
    if (weight.transposed) {
      for (size_t column = begin; column < end; ++column)
        for (size_t row = 0; row < weight.rows; ++row) copy(row, column);
    } else {
      for (size_t row = 0; row < weight.rows; ++row)
        for (size_t column = begin; column < end; ++column) copy(row, column);
    }
  });
}

}  // namespace

void DigitalMatrix::multiply(const KernelContext& context, const float* x, size_t rows, float* y, bool add) {
  if (!is_part_of_stored_rows(weight_)) return multiply_exact(context, weight_, x, rows, y, add);
  std::call_once(packs_, [&] {
    const bool wide = weight_.type == ElementType::kFloat32;
    packed_.reset(new unsigned char[weight_.rows * weight_.columns * (wide ? 4 : 2)]);
    wide ? pack<uint32_t>(context, weight_, packed_.get()) : pack<uint16_t>(context, weight_, packed_.get());
  });
  Weight packed = as_whole(weight_);
  packed.data = packed_.get();
  multiply_exact(context, packed, x, rows, y, add);
}

}  // namespace hetc
