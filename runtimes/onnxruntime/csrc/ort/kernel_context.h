// What a kernel may ask of ONNX Runtime while it computes. Failed calls throw Error.
#ifndef HETC_ORT_KERNEL_CONTEXT_H_
#define HETC_ORT_KERNEL_CONTEXT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "ort/tensor.h"

namespace hetc {

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

}  // namespace hetc

#endif  // HETC_ORT_KERNEL_CONTEXT_H_
