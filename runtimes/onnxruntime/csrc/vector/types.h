// The plain data that go in and out of the vectorised loops: weights, noise, panels, converter constants.
//
// A panel is 16 neighbouring columns of a matrix, stored row after row ([rows][16]); in the 16- and 8-bit
// stores 2 or 4 rows lie interleaved ([rows/2][16][2], [rows/4][16][4]), the order in which processors
// multiply such numbers.
#ifndef HETC_VECTOR_TYPES_H_
#define HETC_VECTOR_TYPES_H_

#include <cstddef>
#include <cstdint>

namespace hetc {

constexpr size_t kPanelColumns = 16;
constexpr size_t kGroupPanels = 4;
constexpr size_t kGroupColumns = kGroupPanels * kPanelColumns;
constexpr size_t kLineBytes = 64;

enum class ElementType { kFloat32, kFloat16, kBfloat16 };
enum class NoiseForm { kNone, kDifferentialPair, kGaussian };
enum class Store { kBfloat16, kFloat32, kInt8 };

// Rows of a panel that lie interleaved; a slice of a panel has a multiple of them, the missing ones 0.
constexpr size_t rows_side_by_side(Store store) {
  return store == Store::kFloat32 ? 1 : store == Store::kBfloat16 ? 2 : 4;
}

// Of rows or columns that are a part of those of a matrix, number i there; without a list it is i.
static inline size_t number(const uint32_t* numbers, size_t i) { return numbers == nullptr ? i : numbers[i]; }

// A clean weight matrix of `rows` inputs and `columns` outputs, where ONNX Runtime keeps it. It may be a part
// of the stored one: those rows and columns that `row_numbers` and `column_numbers` list, ascending and
// followed by kPanelColumns more numbers of any value. Without a list all of them count.
struct Weight {
  const void* data;
  ElementType type;
  size_t rows;
  size_t columns;
  bool transposed;  // stored [whole_columns, whole_rows]
  size_t whole_rows;
  size_t whole_columns;
  const uint32_t* row_numbers;
  const uint32_t* column_numbers;
};

// clip(cubic(r) + logarithm ln r + power r^exponent, low, high) for r from `start` on.
struct CurvePiece {
  float start, low, high, logarithm, power, exponent, cubic[4];
};

struct Curve {
  const CurvePiece* pieces;
  size_t count;
};

// The programming noise of one matrix, and what time has done to it since. sigma is a polynomial in |u|,
// ascending powers: one of `sigma_count` coefficients, and one more from each break on.
struct Noise {
  NoiseForm form;
  const float* sigma;
  size_t sigma_count;
  const float* breaks;
  size_t break_count;
  float floor;   // |u| below it is programmed to 0
  float offset;  // g_min / (g_max - g_min)
  float scale;
  uint64_t seed;
  uint32_t stream;
  bool drifts;
  Curve drift_mean, drift_deviation;
  float drift_logarithm;  // ln(t / t0)
  bool flickers;
  Curve flicker_deviation;
  float flicker_spread;
  uint32_t reading;  // the purpose in the counter of the reading's draws
};

// Up to kGroupPanels panels of stored weights; `stride` is the distance between panels in elements. What is
// read after them, `count` times `next_stride` bytes apart from `next` on, is fetched into the cache
// meanwhile.
struct Panels {
  Store store;
  const void* data;
  size_t stride;
  size_t count;
  const void* next = nullptr;
  size_t next_stride = 0;
};

// The converter constants of one K-slice for the columns of one group.
struct Digitiser {
  const float* column_scale;  // multiplies the sums of stored weights, giving sums of weights
  const float* to_code;       // A / (L b), or 0
  const float* step;          // b / A, or 0
  float limit;                // A; 0 without ADC
  float levels;               // L
};

// What one product adds to the outputs of one group of columns in one K-slice.
struct ProductNoise {
  uint64_t key, hash;         // of the random words: see docs/operators.md
  size_t column, columns;     // the first of the group, and how many it has
  const uint32_t* numbers;    // of the columns in the whole matrix; null: their own
  const float* column_scale;  // [kGroupColumns]; multiplies the sums of stored weights
  const float* alpha;         // [kGroupColumns], the weight scale; 0: no noise
  float fixed;                // variance over alpha^2
  float read;                 // variance over alpha^2 and squares
  const float* squares;       // [kGroupColumns], sum |W| q^2 over alpha; may be null
};

}  // namespace hetc

#endif  // HETC_VECTOR_TYPES_H_
