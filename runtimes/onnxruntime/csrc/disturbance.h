// What one product adds to a crossbar's output: IR drop, noise of the weights and noise of the output.
#ifndef HETC_DISTURBANCE_H_
#define HETC_DISTURBANCE_H_

#include <vector>

#include "codes.h"
#include "programmed.h"
#include "settings.h"

namespace hetc {

// The disturbance of the products of some vectors with one matrix.
class DisturbedProducts {
 public:
  // Runs the further products that the disturbance needs. `programmed` may be null: the clean weights.
  DisturbedProducts(const KernelContext& context, const Settings& settings, const Weight& weight,
                    const ProgrammedMatrix* programmed, const std::vector<Slice>& slices, const Codes& codes,
                    uint32_t stream);

  // Adds to sums[rows][kGroupColumns] of weights (not of stored values), for columns of one slice with weight
  // scales `alpha`.
  void add(size_t slice, size_t row, size_t rows, size_t column, size_t columns, const float* alpha,
           float* sums) const;

 private:
  size_t entry(size_t slice, size_t row, size_t column) const {
    return (row * slices_.size() + slice) * columns_ + column;
  }

  const Settings& settings_;
  const std::vector<Slice>& slices_;
  size_t columns_;
  uint64_t key_;
  std::vector<uint64_t> hashes_;  // [rows][slices], of the codes
  std::vector<float> norms_;      // [rows][slices], of the codes; additive noise
  // [rows][slices][columns]; empty where they aren't needed.
  std::vector<float> squares_;   // sum |w| q^2
  std::vector<float> currents_;  // sum |w q|
  std::vector<float> ramps_;     // sum w q (1 - (1 - j/n)^2)
};

}  // namespace hetc

#endif  // HETC_DISTURBANCE_H_
