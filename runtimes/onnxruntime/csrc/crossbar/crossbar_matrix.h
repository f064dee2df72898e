// One weight matrix on crossbars: programmed at its first product, read through ADCs at every one.
#ifndef HETC_CROSSBAR_CROSSBAR_MATRIX_H_
#define HETC_CROSSBAR_CROSSBAR_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "crossbar/codes.h"
#include "crossbar/disturbance.h"
#include "crossbar/product.h"
#include "crossbar/programmed.h"
#include "crossbar/settings.h"
#include "crossbar/slices.h"
#include "ort/kernel_context.h"
#include "ort/kernel_info.h"

namespace hetc {

// Where a node says what belongs to one of its matrices.
struct MatrixInputs {
  const char* prefix;  // of the attribute `stream` and of the names of the inputs
  size_t weight;
  size_t adc_bound;
  size_t weight_scale;
};

class CrossbarMatrix {
 public:
  // Refers to the settings.
  CrossbarMatrix(const KernelInfo& info, const Settings& settings, const Weight& weight,
                 const MatrixInputs& inputs);

  // y[rows, columns] = what the ADCs read, summed over slices. Programs the matrix the first time.
  void multiply(const KernelContext& context, const Codes& given, float* y);

  const Weight& weight() const { return weight_; }
  uint32_t stream() const { return stream_; }

 private:
  // What one product goes through.
  struct Arrays {
    const ProgrammedMatrix* programmed;  // may be null: the clean weights
    const std::vector<float>& alpha;     // the weight scale; empty where nothing asks for it
  };

  // The ADC's constants for the columns of one group in one slice.
  struct GroupConstants {
    float column_scale[kGroupColumns], to_code[kGroupColumns], step[kGroupColumns];
  };

  // Where a block's columns begin in a table [slices, padded columns].
  size_t first_entry(size_t slice, const Block& block) const {
    return slice * padded(weight_.columns) + block.column;
  }
  MatrixView view(const Arrays& arrays) const { return {weight_, slices_, arrays.programmed}; }
  GroupConstants constants(const Arrays& arrays, size_t slice, const Block& block) const;

  const std::vector<float>& clean_maxima(const KernelContext& context);
  const std::vector<float>& clean_scale(const KernelContext& context);
  std::shared_ptr<const ProgrammedMatrix> programmed(const KernelContext& context);

  // The disturbance of products with `codes`, if there is one.
  std::optional<DisturbedProducts> disturbance(const KernelContext& context, const Arrays& arrays,
                                               const Codes& codes);

  // Hands the sums of every block, disturbed, to take(slice, block, constants, sums).
  template <typename Take>
  void read_out(const KernelContext& context, const Arrays& arrays, const Codes& codes, const Take& take);

  // Doubles the range of every slice of a vector that clips, until none does or the limit is reached.
  Codes manage_bounds(const KernelContext& context, const Arrays& arrays, Codes codes);

  const Settings& settings_;
  Weight weight_;
  std::string name_;
  uint32_t stream_;
  std::vector<Slice> slices_;
  std::vector<float> adc_bound_;     // [slices, padded columns]; empty: out_bound times the scale
  std::vector<float> weight_scale_;  // likewise; empty: max|w|

  std::mutex mutex_;                // guards what is made at the first Compute
  std::vector<float> maxima_;       // max|w| of the column slices
  std::vector<float> tile_maxima_;  // of the tiles, likewise per column
  std::shared_ptr<const ProgrammedMatrix> programmed_;
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_CROSSBAR_MATRIX_H_
