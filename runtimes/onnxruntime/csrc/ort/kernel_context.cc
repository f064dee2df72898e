// Inputs, outputs and threads of a kernel that computes.
#include "ort/kernel_context.h"

#include <exception>
#include <mutex>

#include "ort/status.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace hetc {
namespace {

// The pool orders what its threads do, but in code that ThreadSanitizer does not see: these two tell it.
#ifdef __SANITIZE_THREAD__
void release_to_pool(void* work) { __tsan_release(work); }
void acquire_from_pool(void* work) { __tsan_acquire(work); }
#else
void release_to_pool(void*) {}
void acquire_from_pool(void*) {}
#endif

}  // namespace

Tensor KernelContext::input(size_t index) const {
  const OrtValue* value = nullptr;
  check(api_, api_.KernelContext_GetInput(context_, index, &value));
  if (value == nullptr) throw Error("input " + std::to_string(index) + " is missing");
  return describe(api_, value);
}

void* KernelContext::output(size_t index, const std::vector<int64_t>& shape) const {
  OrtValue* value = nullptr;
  check(api_, api_.KernelContext_GetOutput(context_, index, shape.data(), shape.size(), &value));
  void* data = nullptr;
  check(api_, api_.GetTensorMutableData(value, &data));
  return data;
}

void KernelContext::parallel_for(size_t total, const std::function<void(size_t)>& function) const {
  struct Work {
    const std::function<void(size_t)>& function;
    std::mutex mutex;
    std::exception_ptr failure;
  } work{function, {}, nullptr};
  if (total == 1) return function(0);
  const auto run = [](void* data, size_t index) {
    Work& shared = *static_cast<Work*>(data);
    acquire_from_pool(data);
    try {
      shared.function(index);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(shared.mutex);
      if (shared.failure == nullptr) shared.failure = std::current_exception();
    }
    release_to_pool(data);
  };
  release_to_pool(&work);
  check(api_, api_.KernelContext_ParallelFor(context_, run, total, 0, &work));
  acquire_from_pool(&work);
  if (work.failure != nullptr) std::rethrow_exception(work.failure);
}

}  // namespace hetc
