// A tensor as ONNX Runtime keeps it, and its type and shape in words.
#ifndef HETC_ORT_TENSOR_H_
#define HETC_ORT_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ort/abi.h"
#include "vector/types.h"

namespace hetc {

struct Tensor {
  const void* data;
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;

  size_t size() const;
};

// Looks at a value; refers to its data.
Tensor describe(const OrtApi& api, const OrtValue* value);

std::string type_name(ONNXTensorElementDataType type);
std::string shape_text(const std::vector<int64_t>& shape);

// float32, float16 and bfloat16 are what weights, biases and x may be; others throw, naming `what`.
ElementType element_type(ONNXTensorElementDataType type, const std::string& what);

}  // namespace hetc

#endif  // HETC_ORT_TENSOR_H_
