// What one product adds to a crossbar's output: IR drop, noise of the weights and noise of the output.
#ifndef HETC_CROSSBAR_DISTURBANCE_H_
#define HETC_CROSSBAR_DISTURBANCE_H_

#include <optional>
#include <vector>

#include "crossbar/codes.h"
#include "crossbar/programmed.h"
#include "crossbar/settings.h"
#include "crossbar/squared_products.h"

namespace hetc {

// The disturbance of the products of some vectors with one matrix.
class DisturbedProducts {
 public:
  // `programmed` may be null: the clean weights. `largest`: max|stored value| of the column slices, or of
  // clean weights; read for PCM read noise only.
  DisturbedProducts(const KernelContext& context, const Settings& settings, const Weight& weight,
                    const ProgrammedMatrix* programmed, const std::vector<float>& largest,
                    const std::vector<Slice>& slices, const Codes& codes, uint32_t stream);

  // values[rows][kGroupColumns] = sums of stored values as sums of weights, disturbed, for the columns of one
  // group in one slice, with factors `column_scale` and weight scales `alpha`.
  void disturb(size_t slice, size_t row, size_t rows, size_t column, size_t columns,
               const float* column_scale, const float* alpha, const float* sums, float* values) const;

 private:
  size_t entry(size_t slice, size_t row, size_t column) const {
    return (row * slices_.size() + slice) * columns_ + column;
  }

  const Settings& settings_;
  void drop_voltage(size_t slice, size_t row, size_t column, size_t columns, const float* alpha,
                    float* values) const;

  const std::vector<Slice>& slices_;
  size_t columns_;
  uint64_t key_;
  std::vector<uint64_t> hashes_;  // [rows][slices], of the codes
  std::vector<float> norms_;      // [rows][slices], sum q^2; additive noise
  std::optional<SquaredProducts> squared_;
  // [rows][slices][columns]; empty without IR drop.
  std::vector<float> currents_;  // sum |w q|
  std::vector<float> ramps_;     // sum w q (1 - (1 - j/n)^2)
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_DISTURBANCE_H_
