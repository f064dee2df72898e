// Matrix products: exact, or through DAC, crossbar and ADC.
#ifndef HETC_CROSSBAR_CROSSBAR_MATRIX_H_
#define HETC_CROSSBAR_CROSSBAR_MATRIX_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "crossbar/codes.h"
#include "crossbar/disturbance.h"
#include "crossbar/programmed.h"
#include "crossbar/settings.h"
#include "crossbar/slices.h"
#include "ort/ort.h"

namespace hetc {

// Checks a weight input: constant, of rank 2, of an allowed type.
Weight read_weight(const KernelInfo& info, size_t index, const std::string& name, bool transposed);

// The optional [S] input ranges of a matrix with `inputs` rows.
std::vector<float> read_input_range(const KernelInfo& info, size_t index, const std::string& name,
                                    size_t slices);

// y[rows, columns] = x w in float32.
void multiply_exact(const KernelContext& context, const Weight& weight, const float* x, size_t rows,
                    float* y);

// One weight matrix on crossbars.
class CrossbarMatrix {
 public:
  // Reads adc_bound and weight_scale from inputs `adc_bound` and `weight_scale`; `name` and `prefix` are for
  // messages.
  CrossbarMatrix(const KernelInfo& info, const Settings& settings, const Weight& weight,
                 const std::string& name, const std::string& prefix, uint32_t stream, size_t adc_bound,
                 size_t weight_scale);

  // y[rows, columns] = what the ADCs read, summed over slices. Programs the matrix the first time.
  void multiply(const KernelContext& context, const Codes& codes, float* y);

  const Weight& weight() const { return weight_; }
  uint32_t stream() const { return stream_; }

 private:
  const std::vector<float>& clean_maxima(const KernelContext& context);
  const std::vector<float>& clean_scale(const KernelContext& context);
  std::shared_ptr<const ProgrammedMatrix> programmed(const KernelContext& context);

  // The ADC's constants for the columns of one group in one slice.
  struct GroupConstants {
    float column_scale[kGroupColumns], to_code[kGroupColumns], step[kGroupColumns];
  };
  GroupConstants constants(const ProgrammedMatrix* matrix, const std::vector<float>& alpha, size_t slice,
                           size_t column, size_t columns) const;

  // The disturbance of products with `codes`, if there is one.
  std::optional<DisturbedProducts> disturbance(const KernelContext& context, const ProgrammedMatrix* matrix,
                                               const Codes& codes);

  // Doubles the range of every slice of a vector that clips, until none does or the limit is reached.
  Codes manage_bounds(const KernelContext& context, const ProgrammedMatrix* matrix,
                      const std::vector<float>& alpha, Codes codes);

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
