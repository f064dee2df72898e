// The loops that are worth vectorising, compiled once per instruction set and chosen when the library loads.
//
// Everything here works on panels: 16 neighbouring columns of a matrix, stored row after row ([rows][16]); in
// the 16- and 8-bit stores 2 or 4 rows lie interleaved ([rows/2][16][2], [rows/4][16][4]), the order in which
// processors multiply such numbers. An output element is always summed over k in the same order, whatever the
// number of rows or panels handled at once; that is what makes results independent of batch size and thread
// count.
#ifndef HETC_VECTOR_VECTOR_CODE_H_
#define HETC_VECTOR_VECTOR_CODE_H_

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

// A clean weight matrix of `rows` inputs and `columns` outputs, where ONNX Runtime keeps it.
struct Weight {
  const void* data;
  ElementType type;
  size_t rows;
  size_t columns;
  bool transposed;  // stored [columns, rows]
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
  const void* next;
  size_t next_stride;
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
  size_t column;              // the first of the group
  const float* column_scale;  // [kGroupColumns]; multiplies the sums of stored weights
  const float* alpha;         // [kGroupColumns], the weight scale; 0: no noise
  float fixed;                // variance over alpha^2
  float read;                 // variance over alpha times squares
  const float* squares;       // [kGroupColumns], sum |W| q^2; may be null
};

struct VectorCode {
  const char* name;

  // block[rows][16] = float32 weights from row `row`, column `column`; columns past the last one are 0.
  void (*load_block)(const Weight& weight, size_t row, size_t rows, size_t column, float* block);

  // maxima[16] = max(maxima, |block|) per column; false if an element is NaN or infinite.
  bool (*column_maxima)(const float* block, size_t rows, float* maxima);

  // Replaces the weights of a block by their programmed conductances g; `scale` holds alpha of each column.
  // Noise that drifts or flickers adds to before[16] the magnitudes at programming.
  void (*program_block)(const Noise& noise, size_t row, size_t rows, size_t column, const float* scale,
                        float* block, double* before);

  // Converts conductances to the store and its order of rows; `largest` (max|g| per column) is read by int8
  // only.
  void (*store_block)(Store store, const float* block, size_t rows, const float* largest, void* panel);

  // target[rows][16] = stored values as float32.
  void (*widen)(Store store, const void* panel, size_t rows, float* target);

  // sums[rows][kGroupColumns] += codes[rows][depth] x panels, for any codes.
  void (*multiply)(const float* codes, size_t code_stride, size_t rows, const Panels& panels, size_t depth,
                   float* sums);

  // The DAC of one slice of one vector; returns its range, 0 if the slice is off, NaN if x is not finite.
  // `range` <= 0: dynamic. `levels` 1 and `rounded` false without DAC.
  float (*quantise)(const float* x, size_t count, float range, float levels, bool rounded, float* codes);

  // Rounds codes up with the probability of their fraction; `hash` is that of the codes rounded to
  // nearest, which are rows from `row` of the matrix.
  void (*round_randomly)(uint64_t key, uint64_t hash, size_t row, size_t count, float* codes);

  // The hash of values of rows from `row` (docs/operators.md, Random numbers).
  uint64_t (*hash_values)(const float* values, size_t count, size_t row);

  float (*sum_of_squares)(const float* values, size_t count);

  // codes^2 = 128 high + low, of codes that are integers in -127..127.
  void (*split_squares)(const float* codes, size_t count, float* high, float* low);

  // sums[rows][kGroupColumns] += 128 digits[rows][0][kGroupColumns] + digits[rows][1][kGroupColumns]
  void (*join_digits)(const float* digits, size_t rows, float* sums);

  // A panel in `store` (int8 or float32) of |values of panel| * 127 / largest[16], rounded. `next`: the panel
  // that is going to be read, for the caches; any address will do.
  void (*magnitudes)(const Panels& panel, size_t rows, const float* largest, const void* next, Store store,
                     void* target);

  // values[kGroupColumns] = sums[kGroupColumns] in units of weights, and noise.
  void (*add_noise)(const ProductNoise& noise, const float* sums, float* values);

  // y[rows][columns] += the ADC's reading of sums, row m in units of ranges[m * range_stride].
  void (*digitise)(const Digitiser& digitiser, const float* sums, size_t rows, size_t columns,
                   const float* ranges, size_t range_stride, float* y, size_t y_stride);

  void (*to_float)(ElementType type, const void* source, size_t count, float* target);
  void (*from_float)(ElementType type, const float* source, size_t count, void* target);

  // values[count] = e^values
  void (*exponential)(float* values, size_t count);
};

// The product of codes that are integers in -127..127, exact in 8 bits and in bfloat16, with panels of one
// narrow store: what a processor has its own instructions for.
struct NarrowProduct {
  const char* name;
  size_t code_bytes;  // of one packed code
  size_t step;        // packed codes of a slice are padded with zeros to a multiple

  // packed[padded count] = codes in the type and order that `multiply` reads.
  void (*pack)(const float* codes, size_t count, void* packed);

  // sums[rows][kGroupColumns] = packed codes x panels. `depth` is a multiple of `step`: codes past the end of
  // the slice are 0, and the values they meet there are finite. `stride` is in bytes.
  void (*multiply)(const void* packed, size_t stride, size_t rows, const Panels& panels, size_t depth,
                   float* sums);
};

// Sums of products of 8-bit integers stay within 32 bits up to this many.
constexpr size_t kNarrowDepth = 131072;

// The fastest of the compiled variants that this processor runs, or the fastest up to the one that the
// environment variable HETC_INSTRUCTIONS names: portable, avx2, avxvnni, avx512 or amx. It is read once.
const VectorCode& vector_code();

// Nothing if `vector_code().multiply` is as fast.
const NarrowProduct* narrow_product(Store store);

}  // namespace hetc

#endif  // HETC_VECTOR_VECTOR_CODE_H_
