// What a kernel may ask of ONNX Runtime when it is created: attributes, constants, session entries.
// Failed calls throw Error.
#ifndef HETC_ORT_KERNEL_INFO_H_
#define HETC_ORT_KERNEL_INFO_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ort/tensor.h"

namespace hetc {

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

}  // namespace hetc

#endif  // HETC_ORT_KERNEL_INFO_H_
