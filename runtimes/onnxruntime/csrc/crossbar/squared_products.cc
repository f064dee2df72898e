// The digits of squares are packed once; magnitudes are made of each panel just before its use.
#include "crossbar/squared_products.h"

#include <algorithm>
#include <memory>

#include "vector/vector_code.h"

namespace hetc {
namespace {

constexpr size_t kPartRows = 512;
// Vectors whose two digits are multiplied at once; their sums stay in the nearest cache.
constexpr size_t kVectors = 32;

// Working memory of one thread; its size does not depend on the matrix.
struct Scratch {
  alignas(kLineBytes) float sums[2 * kVectors * kGroupColumns];
  alignas(kLineBytes) float weights[kPartRows * kPanelColumns];
  alignas(kLineBytes) float magnitudes[kPartRows * kGroupColumns];  // or 8-bit integers
};

Scratch& scratch() {
  thread_local const std::unique_ptr<Scratch> memory = std::make_unique<Scratch>();
  return *memory;
}

Panels one_panel(Store store, const void* data) {
  Panels panel{};
  panel.store = store;
  panel.data = data;
  panel.count = 1;
  return panel;
}

}  // namespace

SquaredProducts::SquaredProducts(const KernelContext& context, const MatrixView& matrix,
                                 const std::vector<float>& largest, const Codes& codes)
    : matrix_(matrix),
      largest_(largest),
      narrow_(codes.small ? narrow_product(Store::kInt8) : nullptr),
      parts_(matrix.slices.size()) {
  const VectorCode& code = vector_code();
  const size_t rows = codes.rows, inputs = codes.inputs;
  const std::vector<Slice>& slices = matrix.slices;
  for (size_t s = 0; s < slices.size(); ++s)
    for (size_t begin = slices[s].begin; begin < slices[s].end; begin += kPartRows) {
      const size_t end = std::min(begin + kPartRows, slices[s].end);
      parts_[s].push_back({begin, end, stride_});
      if (narrow_ != nullptr)
        stride_ += (end - begin + narrow_->step - 1) / narrow_->step * narrow_->step * narrow_->code_bytes;
    }
  // Rows an even number of lines apart share few sets of a cache.
  stride_ = ((stride_ + kLineBytes - 1) / kLineBytes | 1) * kLineBytes;
  packed_.resize(2 * rows * stride_);
  squares_.resize(narrow_ == nullptr ? rows * inputs : 0);
  context.parallel_for(rows, [&](size_t row) {
    const float* q = codes.values.data() + row * inputs;
    if (narrow_ == nullptr) {
      for (size_t k = 0; k < inputs; ++k) squares_[row * inputs + k] = q[k] * q[k];
      return;
    }
    float high[kPartRows], low[kPartRows];
    for (const std::vector<Part>& parts : parts_)
      for (const Part& part : parts) {
        unsigned char* target = packed_.data() + 2 * row * stride_ + part.offset;
        code.split_squares(q + part.begin, part.end - part.begin, high, low);
        narrow_->pack(high, part.end - part.begin, target);
        narrow_->pack(low, part.end - part.begin, target + stride_);
      }
  });
}

Panels SquaredProducts::magnitudes(size_t slice, const Part& part, const Block& block) const {
  Scratch& memory = scratch();
  const size_t depth = part.end - part.begin;
  const bool integers = narrow_ != nullptr;
  Panels made{};
  made.store = integers ? Store::kInt8 : Store::kFloat32;
  made.data = memory.magnitudes;
  made.stride = kPartRows * kPanelColumns;
  made.count = panel_count(block.columns);
  for (size_t panel = 0; panel < made.count; ++panel) {
    const size_t first = block.column + panel * kPanelColumns;
    const float* largest = largest_.data() + slice * padded(matrix_.weight.columns) + first;
    auto* target =
        reinterpret_cast<unsigned char*>(memory.magnitudes) + panel * made.stride * (integers ? 1 : 4);
    if (matrix_.programmed == nullptr) {
      vector_code().load_block(matrix_.weight, part.begin, depth, first, memory.weights);
      vector_code().magnitudes(one_panel(Store::kFloat32, memory.weights), depth, largest, memory.weights,
                               made.store, target);
      continue;
    }
    const ProgrammedMatrix& matrix = *matrix_.programmed;
    const size_t element = element_bytes(matrix.store),
                 stride = matrix.begins.back() * kPanelColumns * element;
    const size_t row = matrix.begins[slice] + part.begin - parts_[slice][0].begin;
    const unsigned char* data = matrix.panels.get() + first / kPanelColumns * stride;
    const unsigned char* source = data + row * kPanelColumns * element;
    // The product of W reads the same panel of the next slice next, or the first of the next group.
    const bool last = part.end == matrix_.weight.rows;
    const unsigned char* next =
        last ? data + kGroupPanels * stride : source + depth * kPanelColumns * element;
    vector_code().magnitudes(one_panel(matrix.store, source), depth, largest, next, made.store, target);
  }
  return made;
}

void SquaredProducts::multiply(size_t slice, const Block& block, const float* alpha, float* sums) const {
  const auto [row, rows, column, columns] = block;
  const ProgrammedMatrix* programmed = matrix_.programmed;
  std::fill_n(sums, rows * kGroupColumns, 0.0f);
  for (const Part& part : parts_[slice]) {
    const Panels panels = magnitudes(slice, part, block);
    if (narrow_ == nullptr) {
      vector_code().multiply(squares_.data() + row * matrix_.weight.rows + part.begin, matrix_.weight.rows,
                             rows, panels, part.end - part.begin, sums);
      continue;
    }
    float* digits = scratch().sums;
    const size_t depth = (part.end - part.begin + narrow_->step - 1) / narrow_->step * narrow_->step;
    for (size_t m = 0; m < rows; m += kVectors) {
      const size_t vectors = std::min(kVectors, rows - m);
      narrow_->multiply(packed_.data() + 2 * (row + m) * stride_ + part.offset, stride_, 2 * vectors, panels,
                        depth, digits);
      vector_code().join_digits(digits, vectors, sums + m * kGroupColumns);
    }
  }
  float unit[kGroupColumns] = {};
  for (size_t n = 0; n < columns; ++n) {
    const size_t entry = slice * padded(matrix_.weight.columns) + column + n;
    const float largest = largest_[entry] * (programmed ? programmed->column_scale[entry] : 1.0f);
    unit[n] = alpha[n] > 0 ? largest / alpha[n] / 127.0f : 0.0f;
  }
  for (size_t m = 0; m < rows; ++m)
    for (size_t n = 0; n < kGroupColumns; ++n) sums[m * kGroupColumns + n] *= unit[n];
}

}  // namespace hetc
