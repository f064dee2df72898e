// Matrix products: exact, or through DAC, crossbar and ADC.
#ifndef HETC_CROSSBAR_H_
#define HETC_CROSSBAR_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ort.h"
#include "programmed.h"
#include "settings.h"
#include "slices.h"

namespace hetc {

// The DAC's view of [rows, inputs] vectors.
struct Codes {
  size_t rows;
  size_t inputs;
  std::vector<float> values;           // [rows, inputs]
  std::vector<float> ranges;           // [rows, slices]; 0: the slice is off
  std::vector<unsigned char> spoiled;  // [rows]; 1: a value was NaN or infinite
};

// Checks a weight input: constant, of rank 2, of an allowed type.
Weight read_weight(const KernelInfo& info, size_t index, const std::string& name, bool transposed);

// The optional [S] input ranges of a matrix with `inputs` rows.
std::vector<float> read_input_range(const KernelInfo& info, size_t index, const std::string& name,
                                    size_t slices);

Codes convert(const KernelContext& context, const Settings& settings, const float* x, size_t rows,
              size_t inputs, const std::vector<float>& input_range);

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

 private:
  const std::vector<float>& clean_scale(const KernelContext& context);
  std::shared_ptr<const ProgrammedMatrix> programmed(const KernelContext& context);

  const Settings& settings_;
  Weight weight_;
  std::string name_;
  uint32_t stream_;
  std::vector<Slice> slices_;
  std::vector<float> adc_bound_;     // [slices, padded columns]; empty: out_bound times the scale
  std::vector<float> weight_scale_;  // likewise; empty: max|w|

  std::mutex mutex_;  // guards what is made at the first Compute
  std::vector<float> maxima_;
  std::shared_ptr<const ProgrammedMatrix> programmed_;
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_H_
