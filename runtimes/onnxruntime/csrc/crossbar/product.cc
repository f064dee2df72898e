#include "crossbar/product.h"

#include <algorithm>
#include <cmath>
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
};

// A part of the result that one thread makes.
struct Block {
  size_t row, rows;
  size_t column, columns;
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
  return {matrix.store,  data, stride, panel_count(block.columns), data + depth * kPanelColumns * bytes,
          stride * bytes};
}

// From kWideRows rows on, widening stored values once is cheaper than at every use; the values, and so the
// sums, are the same.
constexpr size_t kWideRows = 16;

Panels widened(const Panels& panels, size_t depth, float* block) {
  const auto* stored = static_cast<const unsigned char*>(panels.data);
  for (size_t panel = 0; panel < panels.count; ++panel)
    vector_code().widen(panels.store, stored + panel * panels.stride * element_bytes(panels.store), depth,
                        block + panel * kDepthChunk * kPanelColumns);
  return {Store::kFloat32, block, kDepthChunk * kPanelColumns, panels.count, panels.next, panels.next_stride};
}

Panels loaded(const Weight& weight, size_t row, size_t depth, const Block& part, float* block) {
  const size_t count = panel_count(part.columns);
  for (size_t panel = 0; panel < count; ++panel)
    vector_code().load_block(weight, row, depth, part.column + panel * kPanelColumns,
                             block + panel * kDepthChunk * kPanelColumns);
  return {Store::kFloat32, block, kDepthChunk * kPanelColumns, count, block, 0};
}

// With `magnitudes` the weights count without their sign.
void multiply_any(const KernelContext& context, const Weight& weight, const ProgrammedMatrix* programmed,
                  const std::vector<Slice>& slices, const float* codes, size_t rows, bool magnitudes,
                  const TakeSums& take) {
  for_blocks(context, rows, weight.columns, [&](const Block& block) {
    Scratch& memory = scratch();
    for (size_t slice = 0; slice < slices.size(); ++slice) {
      const auto [begin, end] = slices[slice];
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
        vector_code().multiply(codes + block.row * weight.rows + k, weight.rows, block.rows, panels, depth,
                               memory.sums);
      }
      take(slice, block.row, block.rows, block.column, block.columns, memory.sums);
    }
  });
}

size_t rounded_up(size_t count, size_t step) { return (count + step - 1) / step * step; }

void multiply_narrow(const KernelContext& context, const Weight& weight, const ProgrammedMatrix& programmed,
                     const NarrowProduct& product, const std::vector<Slice>& slices, const float* codes,
                     size_t rows, const TakeSums& take) {
  std::vector<size_t> offsets{0};  // of the slices in a row of packed codes, in bytes
  for (const auto [begin, end] : slices)
    offsets.push_back(offsets.back() + rounded_up(end - begin, product.step) * product.code_bytes);
  const size_t stride = offsets.back();
  const std::unique_ptr<unsigned char[]> memory(new unsigned char[rows * stride + kLineBytes]);
  unsigned char* packed = memory.get() + (-reinterpret_cast<uintptr_t>(memory.get())) % kLineBytes;
  const size_t chunk = std::max<size_t>(1, 65536 / weight.rows);
  context.parallel_for((rows + chunk - 1) / chunk, [&](size_t item) {
    for (size_t row = item * chunk; row < std::min(rows, (item + 1) * chunk); ++row)
      for (size_t s = 0; s < slices.size(); ++s)
        product.pack(codes + row * weight.rows + slices[s].begin, slices[s].end - slices[s].begin,
                     packed + row * stride + offsets[s]);
  });
  for_blocks(context, rows, weight.columns, [&](const Block& block) {
    float* sums = scratch().sums;
    for (size_t slice = 0; slice < slices.size(); ++slice) {
      const size_t depth = (offsets[slice + 1] - offsets[slice]) / product.code_bytes;
      product.multiply(packed + block.row * stride + offsets[slice], stride, block.rows,
                       stored_panels(programmed, slice, 0, depth, block), depth, sums);
      take(slice, block.row, block.rows, block.column, block.columns, sums);
    }
  });
}

}  // namespace

void multiply_slices(const KernelContext& context, const Weight& weight, const ProgrammedMatrix* programmed,
                     const std::vector<Slice>& slices, const float* codes, size_t rows, bool small_codes,
                     const TakeSums& take) {
  const NarrowProduct* narrow = programmed == nullptr ? nullptr : narrow_product(programmed->store);
  if (narrow != nullptr && small_codes && slices[0].end <= kNarrowDepth)
    return multiply_narrow(context, weight, *programmed, *narrow, slices, codes, rows, take);
  multiply_any(context, weight, programmed, slices, codes, rows, false, take);
}

void multiply_magnitudes(const KernelContext& context, const Weight& weight,
                         const ProgrammedMatrix* programmed, const std::vector<Slice>& slices,
                         const float* values, size_t rows, const TakeSums& take) {
  multiply_any(context, weight, programmed, slices, values, rows, true, take);
}

}  // namespace hetc
