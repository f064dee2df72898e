#include "crossbar/programmed.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <utility>

#include "crossbar/content_hash.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

// One programmed matrix in the making: whoever comes second waits for the first.
struct Slot {
  std::mutex mutex;
  std::unique_ptr<const ProgrammedMatrix> matrix;
};

size_t weight_bytes(const Weight& weight) {
  return weight.rows * weight.columns * (weight.type == ElementType::kFloat32 ? 4 : 2);
}

void add_curve(const Curve& curve, ContentHash* key) {
  key->add(curve.count);
  key->add(curve.pieces, curve.count * sizeof(CurvePiece));
}

void add_noise(const Noise& noise, ContentHash* key) {
  key->add(noise.form);
  key->add(noise.sigma_count);
  key->add(noise.sigma, noise.sigma_count * (noise.break_count + 1) * sizeof(float));
  key->add(noise.break_count);
  key->add(noise.breaks, noise.break_count * sizeof(float));
  key->add(noise.floor);
  key->add(noise.offset);
  key->add(noise.scale);
  key->add(noise.seed);
  key->add(noise.stream);
  key->add(noise.drifts);
  if (noise.drifts) {
    add_curve(noise.drift_mean, key);
    add_curve(noise.drift_deviation, key);
    key->add(noise.drift_logarithm);
  }
  key->add(noise.flickers);
  if (noise.flickers) {
    add_curve(noise.flicker_deviation, key);
    key->add(noise.flicker_spread);
    key->add(noise.reading);
  }
}

ContentHash key_of(const KernelContext& context, const ProgrammingRequest& request) {
  constexpr size_t kChunk = size_t{1} << 18;
  const Weight& weight = request.weight;
  const size_t bytes = weight_bytes(weight);
  std::vector<ContentHash> chunks((bytes + kChunk - 1) / kChunk);
  context.parallel_for(chunks.size(), [&](size_t i) {
    chunks[i].add(static_cast<const unsigned char*>(weight.data) + i * kChunk,
                  std::min(kChunk, bytes - i * kChunk));
  });
  ContentHash key;
  key.add(chunks.data(), chunks.size() * sizeof(ContentHash));
  key.add(weight.type);
  key.add(weight.rows);
  key.add(weight.columns);
  key.add(weight.transposed);
  key.add(request.slices.size());
  key.add(request.weight_scale.data(), request.weight_scale.size() * sizeof(float));
  add_noise(request.noise, &key);
  key.add(request.compensation);
  key.add(request.tile_columns);
  key.add(request.store);
  return key;
}

std::shared_ptr<Slot> find_slot(const ContentHash& key) {
  static std::mutex mutex;
  static std::map<ContentHash, std::weak_ptr<Slot>, ContentHashOrder> slots;
  const std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<Slot>& entry = slots[key];
  std::shared_ptr<Slot> slot = entry.lock();
  if (slot != nullptr) return slot;
  slot = std::make_shared<Slot>();
  entry = slot;
  for (auto i = slots.begin(); i != slots.end();) i = i->second.expired() ? slots.erase(i) : std::next(i);
  return slot;
}

Error not_finite(const std::string& name, size_t column) {
  return Error("weight '" + name + "' has NaN or infinity in the panel of output " + std::to_string(column));
}

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
    block.resize((end - begin) * kPanelColumns);
    code.load_block(weight, begin, end - begin, column, block.data());
    float* alpha = matrix->alpha.data() + s * padded(weight.columns) + column;
    float* scale = matrix->column_scale.data() + s * padded(weight.columns) + column;
    float maxima[kPanelColumns] = {};
    if (!code.column_maxima(block.data(), end - begin, maxima)) throw not_finite(request.name, column);
    if (request.weight_scale.empty()) std::copy(maxima, maxima + kPanelColumns, alpha);
    double before[kPanelColumns] = {};
    code.program_block(request.noise, begin, end - begin, column, alpha, block.data(), before);
    if (!magnitudes->now.empty()) {
      const size_t entry = s * padded(weight.columns) + column;
      std::copy(before, before + kPanelColumns, magnitudes->before.begin() + static_cast<ptrdiff_t>(entry));
      for (size_t i = 0; i < block.size(); ++i)
        magnitudes->now[entry + i % kPanelColumns] += static_cast<double>(std::fabs(block[i]));
    }
    std::copy(alpha, alpha + kPanelColumns, scale);
    float* largest = matrix->largest.data() + s * padded(weight.columns) + column;
    code.column_maxima(block.data(), end - begin, largest);
    const size_t offset =
        (panel * matrix->begins.back() + matrix->begins[s]) * kPanelColumns * element_bytes(request.store);
    code.store_block(request.store, block.data(), end - begin, largest, matrix->panels.get() + offset);
    round_largest(request.store, largest, scale);
  }
}

// The factor per column, from the magnitudes of its tile or its own.
std::vector<float> compensation(const ProgrammingRequest& request, Magnitudes magnitudes) {
  const size_t columns = padded(request.weight.columns);
  std::vector<float> factors(magnitudes.now.size(), 1.0f);
  const bool global = request.compensation == Compensation::kGlobal;
  for (size_t s = 0; s < request.slices.size(); ++s) {
    for (const auto [begin, end] : split(request.weight.columns, global ? request.tile_columns : 1)) {
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

std::unique_ptr<const ProgrammedMatrix> program(const KernelContext& context,
                                                const ProgrammingRequest& request) {
  const size_t columns = padded(request.weight.columns);
  auto matrix = std::make_unique<ProgrammedMatrix>();
  matrix->store = request.store;
  const size_t side = rows_side_by_side(request.store);
  matrix->begins.push_back(0);
  for (const auto [begin, end] : request.slices)
    matrix->begins.push_back(matrix->begins.back() + (end - begin + side - 1) / side * side);
  const size_t bytes = columns * matrix->begins.back() * element_bytes(request.store);
  matrix->panels.reset(new (std::align_val_t{kLineBytes}) unsigned char[bytes + 16 * kLineBytes]);
  std::fill_n(matrix->panels.get() + bytes, 16 * kLineBytes, static_cast<unsigned char>(0));
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

}  // namespace

size_t element_bytes(Store store) { return store == Store::kFloat32 ? 4 : store == Store::kBfloat16 ? 2 : 1; }

std::shared_ptr<const ProgrammedMatrix> programmed_matrix(const KernelContext& context,
                                                          const ProgrammingRequest& request) {
  const std::shared_ptr<Slot> slot = find_slot(key_of(context, request));
  const std::lock_guard<std::mutex> lock(slot->mutex);
  if (slot->matrix == nullptr) slot->matrix = program(context, request);
  return std::shared_ptr<const ProgrammedMatrix>(slot, slot->matrix.get());
}

std::vector<float> column_maxima(const KernelContext& context, const std::string& name, const Weight& weight,
                                 const std::vector<Slice>& slices) {
  std::vector<float> maxima(slices.size() * padded(weight.columns));
  context.parallel_for(panel_count(weight.columns), [&](size_t panel) {
    constexpr size_t kRows = 256;
    float block[kRows * kPanelColumns];
    const size_t column = panel * kPanelColumns;
    for (size_t s = 0; s < slices.size(); ++s) {
      for (size_t row = slices[s].begin; row < slices[s].end; row += kRows) {
        const size_t rows = std::min(kRows, slices[s].end - row);
        vector_code().load_block(weight, row, rows, column, block);
        float* target = maxima.data() + s * padded(weight.columns) + column;
        if (!vector_code().column_maxima(block, rows, target)) throw not_finite(name, column);
      }
    }
  });
  return maxima;
}

}  // namespace hetc
