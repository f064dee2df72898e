// Where vectors enter crossbars: one DAC, and the matrices behind it.
#ifndef HETC_CROSSBAR_CROSSBAR_INPUT_H_
#define HETC_CROSSBAR_CROSSBAR_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "crossbar/codes.h"
#include "crossbar/crossbar_matrix.h"
#include "crossbar/recorder.h"
#include "crossbar/settings.h"
#include "ort/kernel_context.h"
#include "ort/kernel_info.h"

namespace hetc {

class CrossbarInput {
 public:
  // What a node says about one place where vectors enter.
  struct Site {
    std::string name;  // in recordings
    size_t range;      // which input of the node holds the input ranges
    const char* range_name;
  };

  // A matrix, and where its product goes.
  struct Product {
    CrossbarMatrix* matrix;
    float* y;
  };

  // Refers to the settings. `first`: one of the matrices; its stream is the DAC's.
  CrossbarInput(const KernelInfo& info, const Settings& settings, const CrossbarMatrix& first,
                const Site& site);

  // Counts vectors of all inputs, those of digital neurons included, where the session asks for it.
  bool records() const { return recorder_.has_value(); }
  void record(const float* x, size_t rows);

  // Multiplies x [rows, inputs] with each matrix: exactly in mode exact, else out of the same DAC codes.
  void multiply(const KernelContext& context, const float* x, size_t rows,
                std::initializer_list<Product> products);

 private:
  const Settings& settings_;
  Dac dac_;
  std::optional<Recorder> recorder_;
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_CROSSBAR_INPUT_H_
