// A C++ face on the few ONNX Runtime calls that the kernels make. Failed calls throw Error.
#ifndef HETC_ORT_ORT_H_
#define HETC_ORT_ORT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ort/abi.h"
#include "vector/types.h"

namespace hetc {

// What is wrong with a node or its input; the text becomes an OrtStatus, with the unit's id before it.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Tensor {
  const void* data;
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;

  size_t size() const;
};

std::string type_name(ONNXTensorElementDataType type);
std::string shape_text(const std::vector<int64_t>& shape);

// float32, float16 and bfloat16 are what weights, biases and x may be; others throw, naming `what`.
ElementType element_type(ONNXTensorElementDataType type, const std::string& what);

// What a kernel may ask when it is created.
class KernelInfo {
 public:
  KernelInfo(const OrtApi& api, const OrtKernelInfo* info) : api_(api), info_(info) {}

  int64_t integer(const char* attribute) const;
  float real(const char* attribute) const;
  std::vector<float> reals(const char* attribute) const;
  std::string text(const char* attribute) const;
  bool has_text(const char* attribute) const;

  // The name of the value at an input; empty if the node leaves the input out.
  std::string input_name(size_t index) const;
  // A constant input; nothing if the node leaves it out. Its data live as long as the session.
  std::optional<Tensor> constant(size_t index, const std::string& what) const;

  // The session's entries whose key starts with "hetc.".
  std::vector<std::pair<std::string, std::string>> config_entries() const;

 private:
  const OrtApi& api_;
  const OrtKernelInfo* info_;
};

// What a kernel may ask while it computes.
class KernelContext {
 public:
  KernelContext(const OrtApi& api, OrtKernelContext* context) : api_(api), context_(context) {}

  Tensor input(size_t index) const;
  void* output(size_t index, const std::vector<int64_t>& shape) const;

  // Runs function(0 .. total - 1) on the session's threads; the first exception is thrown again here.
  void parallel_for(size_t total, const std::function<void(size_t)>& function) const;

 private:
  const OrtApi& api_;
  OrtKernelContext* context_;
};

// Releases a status and throws its text; returns if the call succeeded.
void check(const OrtApi& api, OrtStatus* status);

}  // namespace hetc

#endif  // HETC_ORT_ORT_H_
