// The loops that are worth vectorising, compiled once per instruction set and chosen when the library loads.
//
// Everything here works on panels: 16 neighbouring columns of a matrix, stored row after row ([rows][16]). An
// output element is always summed over k in ascending order by one chain of multiply-adds, whatever the
// number of rows or panels handled at once; that is what makes results independent of batch size and thread
// count.
#ifndef HETC_VECTOR_CODE_H_
#define HETC_VECTOR_CODE_H_

#include <cstddef>
#include <cstdint>

namespace hetc {

constexpr size_t kPanelColumns = 16;
constexpr size_t kGroupPanels = 4;
constexpr size_t kGroupColumns = kGroupPanels * kPanelColumns;

enum class ElementType { kFloat32, kFloat16, kBfloat16 };
enum class NoiseForm { kNone, kDifferentialPair, kGaussian };
enum class Store { kBfloat16, kFloat32, kInt8 };

// A clean weight matrix of `rows` inputs and `columns` outputs, where ONNX Runtime keeps it.
struct Weight {
  const void* data;
  ElementType type;
  size_t rows;
  size_t columns;
  bool transposed;  // stored [columns, rows]
};

// The programming noise of one matrix; sigma is a polynomial in |u|, ascending powers.
struct Noise {
  NoiseForm form;
  const float* sigma;
  size_t sigma_count;
  float scale;
  uint64_t seed;
  uint32_t stream;
};

// Up to kGroupPanels panels of stored weights; `stride` is the distance between panels in elements.
struct Panels {
  Store store;
  const void* data;
  size_t stride;
  size_t count;
};

// The converter constants of one K-slice for the columns of one group.
struct Digitiser {
  const float* column_scale;  // multiplies the sums of stored weights, giving sums of weights
  const float* to_code;       // A / (L b), or 0
  const float* step;          // b / A, or 0
  float limit;                // A; 0 without ADC
  float levels;               // L
};

struct VectorCode {
  const char* name;

  // block[rows][16] = float32 weights from row `row`, column `column`; columns past the last one are 0.
  void (*load_block)(const Weight& weight, size_t row, size_t rows, size_t column, float* block);

  // maxima[16] = max(maxima, |block|) per column; false if an element is NaN or infinite.
  bool (*column_maxima)(const float* block, size_t rows, float* maxima);

  // Replaces the weights of a block by their programmed conductances g; `scale` holds alpha of each column.
  void (*program_block)(const Noise& noise, size_t row, size_t rows, size_t column, const float* scale,
                        float* block);

  // Converts conductances to the store; `largest` (max|g| per column) is read by int8 only.
  void (*store_block)(Store store, const float* block, size_t rows, const float* largest, void* panel);

  // target[count] = stored values as float32.
  void (*widen)(Store store, const void* panel, size_t count, float* target);

  // sums[rows][kGroupColumns] += codes[rows][depth] x panels.
  void (*multiply)(const float* codes, size_t code_stride, size_t rows, const Panels& panels, size_t depth,
                   float* sums);

  // The DAC of one slice of one vector; returns its range, 0 if the slice is off, NaN if x is not finite.
  // `range` <= 0: dynamic. `levels` 1 and `rounded` false without DAC.
  float (*quantise)(const float* x, size_t count, float range, float levels, bool rounded, float* codes);

  // y[rows][columns] += the ADC's reading of sums, row m in units of ranges[m * range_stride].
  void (*digitise)(const Digitiser& digitiser, const float* sums, size_t rows, size_t columns,
                   const float* ranges, size_t range_stride, float* y, size_t y_stride);

  void (*to_float)(ElementType type, const void* source, size_t count, float* target);
  void (*from_float)(ElementType type, const float* source, size_t count, void* target);
};

// The fastest of the compiled variants that this processor runs.
const VectorCode& vector_code();

}  // namespace hetc

#endif  // HETC_VECTOR_CODE_H_
