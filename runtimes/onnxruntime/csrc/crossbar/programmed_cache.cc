// The process's slots of programmed matrices, found by a hash of all that a matrix depends on.
#include "crossbar/programmed_cache.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "crossbar/content_hash.h"
#include "crossbar/shared_slots.h"

namespace hetc {
namespace {

std::atomic<uint64_t> programmings{0};

size_t weight_bytes(const Weight& weight) {
  return weight.whole_rows * weight.whole_columns * (weight.type == ElementType::kFloat32 ? 4 : 2);
}

// Which rows or columns of a matrix count.
void add_numbers(const uint32_t* numbers, size_t count, ContentHash* key) {
  key->add(count);
  key->add(numbers != nullptr);
  if (numbers != nullptr) key->add(numbers, count * sizeof *numbers);
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
  key.add(weight.whole_rows);
  key.add(weight.whole_columns);
  key.add(weight.transposed);
  add_numbers(weight.row_numbers, weight.rows, &key);
  add_numbers(weight.column_numbers, weight.columns, &key);
  key.add(request.slices.size());
  key.add(request.weight_scale.data(), request.weight_scale.size() * sizeof(float));
  add_noise(request.noise, &key);
  key.add(request.compensation);
  key.add(request.tiles.size());
  key.add(request.store);
  return key;
}

}  // namespace

std::shared_ptr<const ProgrammedMatrix> programmed_matrix(const KernelContext& context,
                                                          const ProgrammingRequest& request) {
  static const auto slots = std::make_shared<SharedSlots<ContentHash, ProgrammedMatrix>>();
  return slots->find(key_of(context, request), [&] {
    ++programmings;
    return program(context, request);
  });
}

uint64_t count_programmings() { return programmings; }

}  // namespace hetc
