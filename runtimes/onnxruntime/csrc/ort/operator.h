// What an operator of the domain is to ONNX Runtime: a name, inputs, and kernels made from nodes.
#ifndef HETC_ORT_OPERATOR_H_
#define HETC_ORT_OPERATOR_H_

#include <memory>
#include <string>
#include <vector>

#include "ort/kernel_context.h"
#include "ort/kernel_info.h"

namespace hetc {

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void compute(const KernelContext& context) = 0;
};

struct Operator {
  const char* name = nullptr;
  size_t inputs = 0;             // input 0 is x
  std::vector<size_t> required;  // the inputs that no node leaves out
  // Which input names the unit where the node has no attribute `unit`.
  size_t naming_input = 0;
  bool same_shape = false;  // the output has the type and shape of input 0
  // Makes the kernel of one node; x_type is the type of input 0. Throws Error.
  std::unique_ptr<Kernel> (*create)(const KernelInfo& info, ONNXTensorElementDataType x_type) = nullptr;
};

}  // namespace hetc

#endif  // HETC_ORT_OPERATOR_H_
