// RequireLibrary: identity. It exists so that a model which needs this library loads nowhere without it.
#include <cstring>

#include "operators/operators.h"
#include "ort/session.h"
#include "ort/status.h"

namespace hetc {
namespace {

size_t bytes_of(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return 1;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
      return 2;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
      return 4;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
      return 8;
    default:
      throw Error("x is " + type_name(type) + "; allowed: numbers and bool");
  }
}

class RequireLibrary : public Kernel {
 public:
  explicit RequireLibrary(size_t element) : element_(element) {}

  void compute(const KernelContext& context) override {
    const Tensor x = context.input(0);
    void* y = context.output(0, x.shape);
    if (x.size() > 0 && y != x.data) std::memcpy(y, x.data, x.size() * element_);
  }

 private:
  size_t element_;
};

std::unique_ptr<Kernel> create(const KernelInfo& info, ONNXTensorElementDataType x_type) {
  read_session(info);  // throws for entries that are not known
  return std::make_unique<RequireLibrary>(bytes_of(x_type));
}

Operator require_library() {
  Operator op;
  op.name = "RequireLibrary";
  op.inputs = 1;
  op.required = {0};
  op.same_shape = true;
  op.create = create;
  return op;
}

}  // namespace

const Operator kRequireLibrary = require_library();

}  // namespace hetc
