// The table of vectorised loops, compiled once per instruction set (variant.inc) and chosen when the library
// loads (instructions.cc).
//
// An output element is always summed over k in the same order, whatever the number of rows or panels handled
// at once; that is what makes results independent of batch size and thread count.
#ifndef HETC_VECTOR_VECTOR_CODE_H_
#define HETC_VECTOR_VECTOR_CODE_H_

#include "vector/types.h"

namespace hetc {

struct VectorCode {
  const char* name;

  // block[rows][16] = float32 weights from row `row`, column `column`; columns past the last one are 0.
  void (*load_block)(const Weight& weight, size_t row, size_t rows, size_t column, float* block);

  // maxima[16] = max(maxima, |block|) per column; false if an element is NaN or infinite.
  bool (*column_maxima)(const float* block, size_t rows, float* maxima);

  // Replaces the weights of a block by their programmed conductances g; `scale` holds alpha of each column.
  // Noise that drifts or flickers adds to before[16] the magnitudes at programming.
  void (*program_block)(const Noise& noise, const Weight& weight, size_t row, size_t rows, size_t column,
                        const float* scale, float* block, double* before);

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
  // nearest, which are rows from `row` of a matrix; `numbers`: of rows that are a part (see Weight).
  void (*round_randomly)(uint64_t key, uint64_t hash, const uint32_t* numbers, size_t row, size_t count,
                         float* codes);

  // The hash of values of such rows (docs/operators.md, Random numbers).
  uint64_t (*hash_values)(const float* values, size_t count, const uint32_t* numbers, size_t row);

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

// The fastest of the compiled variants that this processor runs, or the fastest up to the one that the
// environment variable HETC_INSTRUCTIONS names: portable, avx2, avxvnni, avx512 or amx. It is read once.
const VectorCode& vector_code();

// The name of that variant, as HETC_INSTRUCTIONS spells it.
const char* instructions_name();

}  // namespace hetc

#endif  // HETC_VECTOR_VECTOR_CODE_H_
