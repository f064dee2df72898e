// What an operator of the domain is to ONNX Runtime: a name, inputs, and kernels made from nodes.
#ifndef HETC_ORT_OPERATOR_H_
#define HETC_ORT_OPERATOR_H_

#include <memory>
#include <string>
#include <vector>

#include "ort/ort.h"

namespace hetc {

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void compute(const KernelContext& context) = 0;
};

struct Operator {
  const char* name;
  std::vector<bool> required;  // one per input; input 0 is x
  // Makes the kernel of one node; x_type is the type of input 0. Throws Error.
  std::unique_ptr<Kernel> (*create)(const KernelInfo& info, ONNXTensorElementDataType x_type);
  // Which input names the unit where the node has no attribute `unit`.
  size_t naming_input;
  bool same_shape;  // the output has the type and shape of input 0
};

extern const Operator kAnalogMatMul;
extern const Operator kAnalogExpert;
extern const Operator kExpert16;
extern const Operator kRequireLibrary;

}  // namespace hetc

#endif  // HETC_ORT_OPERATOR_H_
