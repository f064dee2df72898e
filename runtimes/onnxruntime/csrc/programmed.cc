#include "programmed.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "content_hash.h"

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
  key.add(request.noise.form);
  key.add(request.noise.sigma, request.noise.sigma_count * sizeof(float));
  key.add(request.noise.scale);
  key.add(request.noise.seed);
  key.add(request.noise.stream);
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

// Programs the 16 columns of one panel, slice by slice.
void program_panel(const ProgrammingRequest& request, size_t panel, ProgrammedMatrix* matrix) {
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
    code.program_block(request.noise, begin, end - begin, column, alpha, block.data());
    std::copy(alpha, alpha + kPanelColumns, scale);
    float largest[kPanelColumns] = {};
    if (request.store == Store::kInt8) {
      code.column_maxima(block.data(), end - begin, largest);
      for (size_t n = 0; n < kPanelColumns; ++n) scale[n] = alpha[n] * (largest[n] / 127.0f);
    }
    const size_t offset = (panel * weight.rows + begin) * kPanelColumns * element_bytes(request.store);
    code.store_block(request.store, block.data(), end - begin, largest, matrix->panels.get() + offset);
  }
}

std::unique_ptr<const ProgrammedMatrix> program(const KernelContext& context,
                                                const ProgrammingRequest& request) {
  const size_t columns = padded(request.weight.columns);
  auto matrix = std::make_unique<ProgrammedMatrix>();
  matrix->store = request.store;
  matrix->panels.reset(new unsigned char[columns * request.weight.rows * element_bytes(request.store)]);
  matrix->alpha = request.weight_scale;
  matrix->alpha.resize(request.slices.size() * columns);
  matrix->column_scale.resize(matrix->alpha.size());
  context.parallel_for(columns / kPanelColumns,
                       [&](size_t panel) { program_panel(request, panel, matrix.get()); });
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
