// Panels are programmed on the session's threads, 16 columns at a time.
#include "crossbar/programming.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "crossbar/weight.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

// Magnitudes of the conductances in each column slice, at programming and now.
struct Magnitudes {
  std::vector<double> before, now;  // [slices][padded columns]; empty: not wanted
};

// Rounds the largest conductances of a column slice as the store does; int8 has its unit in `scale` instead.
void round_largest(Store store, float* largest, float* scale) {
  uint16_t halves[kPanelColumns];
  switch (store) {
    case Store::kFloat32:
      return;
    case Store::kBfloat16:
      vector_code().from_float(ElementType::kBfloat16, largest, kPanelColumns, halves);
      return vector_code().to_float(ElementType::kBfloat16, halves, kPanelColumns, largest);
    case Store::kInt8:
      for (size_t n = 0; n < kPanelColumns; ++n) {
        scale[n] *= largest[n] / 127.0f;
        largest[n] = 127.0f;
      }
  }
}

// Programs the 16 columns of one panel, slice by slice.
void program_panel(const ProgrammingRequest& request, size_t panel, ProgrammedMatrix* matrix,
                   Magnitudes* magnitudes) {
  const VectorCode& code = vector_code();
  const Weight& weight = request.weight;
  const size_t column = panel * kPanelColumns;
  std::vector<float> block;
  for (size_t s = 0; s < request.slices.size(); ++s) {
    const auto [begin, end] = request.slices[s];
    if (begin == end) continue;
    block.resize((end - begin) * kPanelColumns);
    code.load_block(weight, begin, end - begin, column, block.data());
    float* alpha = matrix->alpha.data() + s * padded(weight.columns) + column;
    float* scale = matrix->column_scale.data() + s * padded(weight.columns) + column;
    float maxima[kPanelColumns] = {};
    if (!code.column_maxima(block.data(), end - begin, maxima)) throw not_finite(request.name, column);
    if (request.weight_scale.empty()) std::copy(maxima, maxima + kPanelColumns, alpha);
    double before[kPanelColumns] = {};
    code.program_block(request.noise, weight, begin, end - begin, column, alpha, block.data(), before);
    if (!magnitudes->now.empty()) {
      const size_t entry = s * padded(weight.columns) + column;
      std::copy(before, before + kPanelColumns, magnitudes->before.begin() + static_cast<ptrdiff_t>(entry));
      for (size_t i = 0; i < block.size(); ++i)
        magnitudes->now[entry + i % kPanelColumns] += static_cast<double>(std::fabs(block[i]));
    }
    std::copy(alpha, alpha + kPanelColumns, scale);
    float* largest = matrix->largest.data() + s * padded(weight.columns) + column;
    code.column_maxima(block.data(), end - begin, largest);
    code.store_block(request.store, block.data(), end - begin, largest, matrix->at(panel, s));
    round_largest(request.store, largest, scale);
  }
}

// The factor per column, from the magnitudes of its tile or its own.
std::vector<float> compensation(const ProgrammingRequest& request, Magnitudes magnitudes) {
  const size_t columns = padded(request.weight.columns);
  std::vector<float> factors(magnitudes.now.size(), 1.0f);
  const bool global = request.compensation == Compensation::kGlobal;
  for (size_t s = 0; s < request.slices.size(); ++s) {
    for (const auto [begin, end] : global ? request.tiles : split(request.weight.columns, 1)) {
      double before = 0, now = 0;
      for (size_t n = begin; n < end; ++n) {
        before += magnitudes.before[s * columns + n];
        now += magnitudes.now[s * columns + n];
      }
      for (size_t n = begin; n < end; ++n)
        if (now > 0) factors[s * columns + n] = static_cast<float>(before / now);
    }
  }
  return factors;
}

}  // namespace

std::unique_ptr<const ProgrammedMatrix> program(const KernelContext& context,
                                                const ProgrammingRequest& request) {
  const size_t columns = padded(request.weight.columns);
  auto matrix = std::make_unique<ProgrammedMatrix>();
  matrix->reserve(request.store, request.slices, request.weight.columns);
  matrix->alpha = request.weight_scale;
  matrix->alpha.resize(request.slices.size() * columns);
  matrix->column_scale.resize(matrix->alpha.size());
  matrix->largest.resize(matrix->alpha.size());
  Magnitudes magnitudes;
  if (request.noise.drifts && request.compensation != Compensation::kNone) {
    magnitudes.before.resize(matrix->alpha.size());
    magnitudes.now.resize(matrix->alpha.size());
  }
  context.parallel_for(columns / kPanelColumns,
                       [&](size_t panel) { program_panel(request, panel, matrix.get(), &magnitudes); });
  if (!magnitudes.now.empty()) matrix->compensation = compensation(request, std::move(magnitudes));
  return matrix;
}

}  // namespace hetc
