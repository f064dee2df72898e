// Which inputs or outputs of a matrix, neurons, are on crossbars and which are digital.
#ifndef HETC_CROSSBAR_PLACEMENT_H_
#define HETC_CROSSBAR_PLACEMENT_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "crossbar/settings.h"
#include "ort/kernel_info.h"
#include "vector/types.h"

namespace hetc {

// Some of the neurons of a layer, in ascending order.
struct Neurons {
  size_t count;
  std::vector<uint32_t> numbers;  // and kPanelColumns zeros; empty: all neurons

  const uint32_t* list() const { return numbers.empty() ? nullptr : numbers.data(); }
};

struct Placement {
  Neurons analog, digital;
};

// An optional [neurons] input of a node.
struct RankInput {
  size_t index;
  const char* name;
  size_t neurons;
};

// What the inputs of ranks say, one by one: a neuron whose rank is below the settings' digital count is
// digital, without the input none is. Where nothing is left that is analog the mode becomes exact, and mode
// exact knows no difference: there all count as analog.
std::vector<Placement> read_placements(const KernelInfo& info, std::initializer_list<RankInput> inputs,
                                       Settings* settings);

// The part of a matrix that belongs to some of its inputs or outputs; refers to them.
Weight select_rows(Weight weight, const Neurons& neurons);
Weight select_columns(Weight weight, const Neurons& neurons);

// part[rows, neurons.count] = what whole[rows, width] has at these neurons.
void take_neurons(const float* whole, size_t rows, size_t width, const Neurons& neurons, float* part);

// The reverse.
void put_neurons(const float* part, size_t rows, size_t width, const Neurons& neurons, float* whole);

// y[rows, outputs] becomes NaN in the rows where x[rows, inputs] is not finite.
void spread_not_finite(const float* x, size_t rows, size_t inputs, size_t outputs, float* y);

}  // namespace hetc

#endif  // HETC_CROSSBAR_PLACEMENT_H_
