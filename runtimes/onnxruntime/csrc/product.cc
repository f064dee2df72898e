#include "product.h"

#include <algorithm>

namespace hetc {
namespace {

constexpr size_t kRowChunk = 128;
constexpr size_t kDepthChunk = 512;

// Working memory of one thread; its size does not depend on the matrix.
struct Scratch {
  std::vector<float> sums = std::vector<float>(kRowChunk * kGroupColumns);
  std::vector<float> block = std::vector<float>(kDepthChunk * kGroupColumns);
};

// Panels of rows k .. k + depth, in place if they are stored as the product reads them best. From kWideRows
// rows on, widening stored values once is cheaper than at every use; the values, and so the sums, are the
// same.
constexpr size_t kWideRows = 16;

Panels open_panels(const Weight& weight, const ProgrammedMatrix* programmed, size_t k, size_t depth,
                   size_t column, size_t columns, size_t rows, std::vector<float>* block) {
  const size_t count = panel_count(columns);
  const size_t stride = kDepthChunk * kPanelColumns;
  if (programmed == nullptr) {
    for (size_t panel = 0; panel < count; ++panel)
      vector_code().load_block(weight, k, depth, column + panel * kPanelColumns,
                               block->data() + panel * stride);
    return {Store::kFloat32, block->data(), stride, count};
  }
  const size_t bytes = element_bytes(programmed->store);
  const size_t stored_stride = weight.rows * kPanelColumns;
  const unsigned char* stored =
      programmed->panels.get() + (column / kPanelColumns * weight.rows + k) * kPanelColumns * bytes;
  if (programmed->store == Store::kFloat32 || rows < kWideRows)
    return {programmed->store, stored, stored_stride, count};
  for (size_t panel = 0; panel < count; ++panel)
    vector_code().widen(programmed->store, stored + panel * stored_stride * bytes, depth * kPanelColumns,
                        block->data() + panel * stride);
  return {Store::kFloat32, block->data(), stride, count};
}

}  // namespace

void multiply_slices(const KernelContext& context, const Weight& weight, const ProgrammedMatrix* programmed,
                     const std::vector<Slice>& slices, const float* codes, size_t rows,
                     const TakeSums& take) {
  const VectorCode& code = vector_code();
  const size_t groups = (weight.columns + kGroupColumns - 1) / kGroupColumns;
  const size_t row_chunks = (rows + kRowChunk - 1) / kRowChunk;
  const size_t inputs = weight.rows;
  context.parallel_for(groups * row_chunks, [&](size_t item) {
    thread_local Scratch scratch;
    const size_t column = item % groups * kGroupColumns;
    const size_t columns = std::min(kGroupColumns, weight.columns - column);
    const size_t row = item / groups * kRowChunk;
    const size_t chunk_rows = std::min(kRowChunk, rows - row);
    for (size_t slice = 0; slice < slices.size(); ++slice) {
      std::fill_n(scratch.sums.begin(), chunk_rows * kGroupColumns, 0.0f);
      for (size_t k = slices[slice].begin; k < slices[slice].end; k += kDepthChunk) {
        const size_t depth = std::min(kDepthChunk, slices[slice].end - k);
        const Panels panels =
            open_panels(weight, programmed, k, depth, column, columns, chunk_rows, &scratch.block);
        code.multiply(codes + row * inputs + k, inputs, chunk_rows, panels, depth, scratch.sums.data());
      }
      take(slice, row, chunk_rows, column, columns, scratch.sums.data());
    }
  });
}

}  // namespace hetc
