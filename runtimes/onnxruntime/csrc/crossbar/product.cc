// Which blocks a product is cut into, and which loop multiplies each.
#include "crossbar/product.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>

#include "vector/narrow_product.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

constexpr size_t kRowChunk = 96;
// Panels of this many rows stay in the nearest cache while the rows of a chunk pass.
constexpr size_t kDepthChunk = 128;

// Working memory of one thread; its size does not depend on the matrix.
struct Scratch {
  alignas(kLineBytes) float sums[kRowChunk * kGroupColumns];
  alignas(kLineBytes) float block[kDepthChunk * kGroupColumns];
  alignas(kLineBytes) float total[kRowChunk * kGroupColumns];  // of several slices
};

// Blocks of `columns` x `rows`, handed to the session's threads.
template <typename Function>
void for_blocks(const KernelContext& context, size_t rows, size_t columns, const Function& function) {
  const size_t groups = (columns + kGroupColumns - 1) / kGroupColumns;
  const size_t row_chunks = (rows + kRowChunk - 1) / kRowChunk;
  context.parallel_for(groups * row_chunks, [&](size_t item) {
    const size_t row = item / groups * kRowChunk, column = item % groups * kGroupColumns;
    function(Block{row, std::min(kRowChunk, rows - row), column, std::min(kGroupColumns, columns - column)});
  });
}

Scratch& scratch() {
  thread_local const std::unique_ptr<Scratch> memory = std::make_unique<Scratch>();
  return *memory;
}

// The stored panels of a group of columns, `depth` rows from row `row` of slice `slice` on.
Panels stored_panels(const ProgrammedMatrix& matrix, size_t slice, size_t row, size_t depth,
                     const Block& block) {
  const size_t stride = matrix.begins.back() * kPanelColumns;
  const size_t first = block.column * matrix.begins.back() + (matrix.begins[slice] + row) * kPanelColumns;
  const size_t bytes = element_bytes(matrix.store);
  const unsigned char* data = matrix.panels.get() + first * bytes;
  Panels panels{};
  panels.store = matrix.store;
  panels.data = data;
  panels.stride = stride;
  panels.count = panel_count(block.columns);
  panels.next = data + depth * kPanelColumns * bytes;
  panels.next_stride = stride * bytes;
  return panels;
}

// Panels of float32 in a thread's own memory.
Panels panels_in(const float* block, size_t count) {
  Panels panels{};
  panels.store = Store::kFloat32;
  panels.data = block;
  panels.stride = kDepthChunk * kPanelColumns;
  panels.count = count;
  return panels;
}

// From kWideRows rows on, widening stored values once is cheaper than at every use; the values, and so the
// sums, are the same.
constexpr size_t kWideRows = 16;

Panels widened(const Panels& panels, size_t depth, float* block) {
  const auto* stored = static_cast<const unsigned char*>(panels.data);
  for (size_t panel = 0; panel < panels.count; ++panel)
    vector_code().widen(panels.store, stored + panel * panels.stride * element_bytes(panels.store), depth,
                        block + panel * kDepthChunk * kPanelColumns);
  Panels wide = panels_in(block, panels.count);
  wide.next = panels.next;
  wide.next_stride = panels.next_stride;
  return wide;
}

Panels loaded(const Weight& weight, size_t row, size_t depth, const Block& part, float* block) {
  const size_t count = panel_count(part.columns);
  for (size_t panel = 0; panel < count; ++panel)
    vector_code().load_block(weight, row, depth, part.column + panel * kPanelColumns,
                             block + panel * kDepthChunk * kPanelColumns);
  Panels panels = panels_in(block, count);
  panels.next = block;  // nothing to fetch: it is in the cache
  return panels;
}

// With `magnitudes` the weights count without their sign.
void multiply_any(const KernelContext& context, const MatrixView& matrix, const InputView& input,
                  bool magnitudes, const TakeSums& take) {
  const Weight& weight = matrix.weight;
  const ProgrammedMatrix* programmed = matrix.programmed;
  for_blocks(context, input.rows, weight.columns, [&](const Block& block) {
    Scratch& memory = scratch();
    for (size_t slice = 0; slice < matrix.slices.size(); ++slice) {
      const auto [begin, end] = matrix.slices[slice];
      std::fill_n(memory.sums, block.rows * kGroupColumns, 0.0f);
      for (size_t k = begin; k < end; k += kDepthChunk) {
        const size_t depth = std::min(kDepthChunk, end - k);
        Panels panels;
        if (programmed == nullptr) {
          panels = loaded(weight, k, depth, block, memory.block);
        } else {
          panels = stored_panels(*programmed, slice, k - begin, depth, block);
          if (magnitudes || (programmed->store != Store::kFloat32 && block.rows >= kWideRows))
            panels = widened(panels, depth, memory.block);
        }
        if (magnitudes)
          for (float& value : memory.block) value = std::fabs(value);
        vector_code().multiply(input.values + block.row * weight.rows + k, weight.rows, block.rows, panels,
                               depth, memory.sums);
      }
      take(slice, block, memory.sums);
    }
  });
}

size_t rounded_up(size_t count, size_t step) { return (count + step - 1) / step * step; }

// Small integers with a store that has instructions of its own.
void multiply_narrow(const KernelContext& context, const MatrixView& matrix, const NarrowProduct& product,
                     const InputView& input, const TakeSums& take) {
  const size_t rows = input.rows, inputs = matrix.weight.rows;
  std::vector<size_t> offsets{0};  // of the slices in a row of packed codes, in bytes
  for (const auto [begin, end] : matrix.slices)
    offsets.push_back(offsets.back() + rounded_up(end - begin, product.step) * product.code_bytes);
  const size_t stride = offsets.back();
  const std::unique_ptr<unsigned char[]> memory(new unsigned char[rows * stride + kLineBytes]);
  unsigned char* packed = memory.get() + (-reinterpret_cast<uintptr_t>(memory.get())) % kLineBytes;
  const size_t chunk = std::max<size_t>(1, 65536 / inputs);
  context.parallel_for((rows + chunk - 1) / chunk, [&](size_t item) {
    for (size_t row = item * chunk; row < std::min(rows, (item + 1) * chunk); ++row)
      for (size_t s = 0; s < matrix.slices.size(); ++s) {
        const auto [begin, end] = matrix.slices[s];
        product.pack(input.values + row * inputs + begin, end - begin, packed + row * stride + offsets[s]);
      }
  });
  for_blocks(context, rows, matrix.weight.columns, [&](const Block& block) {
    float* sums = scratch().sums;
    for (size_t slice = 0; slice < matrix.slices.size(); ++slice) {
      const size_t depth = (offsets[slice + 1] - offsets[slice]) / product.code_bytes;
      product.multiply(packed + block.row * stride + offsets[slice], stride, block.rows,
                       stored_panels(*matrix.programmed, slice, 0, depth, block), depth, sums);
      take(slice, block, sums);
    }
  });
}

}  // namespace

void multiply_slices(const KernelContext& context, const MatrixView& matrix, const InputView& input,
                     const TakeSums& take) {
  const NarrowProduct* narrow =
      matrix.programmed == nullptr ? nullptr : narrow_product(matrix.programmed->store);
  const auto fits = [](const Slice& slice) { return slice.end - slice.begin <= kNarrowDepth; };
  if (narrow != nullptr && input.small && std::all_of(matrix.slices.begin(), matrix.slices.end(), fits))
    return multiply_narrow(context, matrix, *narrow, input, take);
  multiply_any(context, matrix, input, false, take);
}

void multiply_magnitudes(const KernelContext& context, const MatrixView& matrix, const InputView& input,
                         const TakeSums& take) {
  multiply_any(context, matrix, input, true, take);
}

std::vector<Slice> partial_sums(const Weight& weight) { return split(weight.rows, 256); }

void multiply_exact(const KernelContext& context, const Weight& weight, const float* x, size_t rows,
                    float* y) {
  multiply_exact(context, {weight, partial_sums(weight), nullptr}, x, rows, y, false);
}

void multiply_exact(const KernelContext& context, const MatrixView& matrix, const float* x, size_t rows,
                    float* y, bool add) {
  const size_t columns = matrix.weight.columns;
  const auto take = [&](size_t slice, const Block& block, float* sums) {
    float* total = scratch().total;
    const size_t count = block.rows * kGroupColumns;
    if (slice > 0)
      for (size_t i = 0; i < count; ++i) sums[i] += total[i];
    if (slice + 1 < matrix.slices.size()) {
      std::copy_n(sums, count, total);
      return;
    }
    for (size_t m = 0; m < block.rows; ++m) {
      float* target = y + (block.row + m) * columns + block.column;
      const float* source = sums + m * kGroupColumns;
      if (add) {
        for (size_t n = 0; n < block.columns; ++n) target[n] += source[n];
      } else {
        std::copy_n(source, block.columns, target);
      }
    }
  };
  multiply_slices(context, matrix, {x, rows, false}, take);
}

}  // namespace hetc
