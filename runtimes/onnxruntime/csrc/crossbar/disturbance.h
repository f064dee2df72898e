// What one product adds to a crossbar's output: IR drop, noise of the weights and noise of the output.
#ifndef HETC_CROSSBAR_DISTURBANCE_H_
#define HETC_CROSSBAR_DISTURBANCE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "crossbar/codes.h"
#include "crossbar/product.h"
#include "crossbar/settings.h"
#include "crossbar/squared_products.h"
#include "ort/kernel_context.h"

namespace hetc {

// Factors of the columns of one block.
struct ColumnScales {
  const float* stored;  // multiplies sums of stored values, giving sums of weights
  const float* alpha;   // the weight scale
};

// The disturbance of the products of some vectors with one matrix.
class DisturbedProducts {
 public:
  // `largest`: max|stored value| of the column slices, or of clean weights; read for PCM read noise only.
  DisturbedProducts(const KernelContext& context, const Settings& settings, const MatrixView& matrix,
                    const std::vector<float>& largest, const Codes& codes, uint32_t stream);

  // values[rows][kGroupColumns] = sums of stored values as sums of weights, disturbed, in one slice.
  void disturb(size_t slice, const Block& block, const ColumnScales& scales, const float* sums,
               float* values) const;

 private:
  size_t entry(size_t slice, size_t row, size_t column) const {
    return (row * matrix_.slices.size() + slice) * matrix_.weight.columns + column;
  }

  // The products of changed codes, which the IR drop asks for.
  void find_currents(const KernelContext& context, const Codes& codes);

  // Subtracts the IR drop of one row from values[kGroupColumns].
  void drop_voltage(size_t slice, size_t row, const Block& block, const float* alpha, float* values) const;

  const Settings& settings_;
  const MatrixView matrix_;
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
