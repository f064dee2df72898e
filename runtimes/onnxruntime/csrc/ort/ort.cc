#include "ort/ort.h"

#include <exception>
#include <mutex>

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

// Turns the status of a call into true or false where a failure only means "not there".
bool succeeded(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return true;
  api.ReleaseStatus(status);
  return false;
}

Tensor describe(const OrtApi& api, const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api, api.GetTensorTypeAndShape(value, &info));
  Tensor tensor{};
  size_t rank = 0;
  OrtStatus* status = api.GetTensorElementType(info, &tensor.type);
  if (status == nullptr) status = api.GetDimensionsCount(info, &rank);
  if (status == nullptr) {
    tensor.shape.resize(rank);
    status = api.GetDimensions(info, tensor.shape.data(), rank);
  }
  api.ReleaseTensorTypeAndShapeInfo(info);
  check(api, status);
  void* data = nullptr;
  check(api, api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  tensor.data = data;
  return tensor;
}

}  // namespace

void check(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw Error(message);
}

size_t Tensor::size() const {
  size_t count = 1;
  for (int64_t dimension : shape) count *= static_cast<size_t>(dimension);
  return count;
}

std::string type_name(ONNXTensorElementDataType type) {
  static const char* const names[] = {"undefined", "float32", "uint8",     "int8",       "uint16",  "int16",
                                      "int32",     "int64",   "string",    "bool",       "float16", "float64",
                                      "uint32",    "uint64",  "complex64", "complex128", "bfloat16"};
  const size_t index = static_cast<size_t>(type);
  return index < sizeof names / sizeof *names ? names[index] : "type " + std::to_string(index);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

ElementType element_type(ONNXTensorElementDataType type, const std::string& what) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return ElementType::kFloat32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return ElementType::kFloat16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return ElementType::kBfloat16;
    default:
      throw Error(what + " is " + type_name(type) + "; allowed: float32, float16, bfloat16");
  }
}

int64_t KernelInfo::integer(const char* attribute) const {
  int64_t value = 0;
  if (!succeeded(api_, api_.KernelInfoGetAttribute_int64(info_, attribute, &value)))
    throw Error("attribute '" + std::string(attribute) + "' is missing or not an int");
  return value;
}

float KernelInfo::real(const char* attribute) const {
  float value = 0;
  if (!succeeded(api_, api_.KernelInfoGetAttribute_float(info_, attribute, &value)))
    throw Error("attribute '" + std::string(attribute) + "' is missing or not a float");
  return value;
}

std::vector<float> KernelInfo::reals(const char* attribute) const {
  size_t count = 0;
  const std::string message = "attribute '" + std::string(attribute) + "' is missing or not a list of floats";
  if (!succeeded(api_, api_.KernelInfoGetAttributeArray_float(info_, attribute, nullptr, &count)))
    throw Error(message);
  std::vector<float> values(count);
  if (count > 0 &&
      !succeeded(api_, api_.KernelInfoGetAttributeArray_float(info_, attribute, values.data(), &count)))
    throw Error(message);
  return values;
}

bool KernelInfo::has_text(const char* attribute) const {
  size_t size = 0;
  return succeeded(api_, api_.KernelInfoGetAttribute_string(info_, attribute, nullptr, &size));
}

std::string KernelInfo::text(const char* attribute) const {
  size_t size = 0;
  const std::string message = "attribute '" + std::string(attribute) + "' is missing or not a string";
  if (!succeeded(api_, api_.KernelInfoGetAttribute_string(info_, attribute, nullptr, &size)))
    throw Error(message);
  std::string value(size, '\0');
  if (!succeeded(api_, api_.KernelInfoGetAttribute_string(info_, attribute, value.data(), &size)))
    throw Error(message);
  while (!value.empty() && value.back() == '\0') value.pop_back();
  return value;
}

std::string KernelInfo::input_name(size_t index) const {
  size_t count = 0;
  check(api_, api_.KernelInfo_GetInputCount(info_, &count));
  if (index >= count) return "";
  size_t size = 0;
  if (!succeeded(api_, api_.KernelInfo_GetInputName(info_, index, nullptr, &size)) || size == 0) return "";
  std::string name(size, '\0');
  check(api_, api_.KernelInfo_GetInputName(info_, index, name.data(), &size));
  while (!name.empty() && name.back() == '\0') name.pop_back();
  return name;
}

std::optional<Tensor> KernelInfo::constant(size_t index, const std::string& what) const {
  if (input_name(index).empty()) return std::nullopt;
  int is_constant = 0;
  const OrtValue* value = nullptr;
  check(api_, api_.KernelInfoGetConstantInput_tensor(info_, index, &is_constant, &value));
  if (is_constant == 0 || value == nullptr) throw Error(what + " is not constant; make it an initializer");
  return describe(api_, value);
}

std::vector<std::pair<std::string, std::string>> KernelInfo::config_entries() const {
  OrtKeyValuePairs* pairs = nullptr;
  check(api_, api_.KernelInfo_GetConfigEntries(info_, &pairs));
  const char* const* keys = nullptr;
  const char* const* values = nullptr;
  size_t count = 0;
  api_.GetKeyValuePairs(pairs, &keys, &values, &count);
  std::vector<std::pair<std::string, std::string>> entries;
  for (size_t i = 0; i < count; ++i)
    if (std::string(keys[i]).rfind("hetc.", 0) == 0) entries.emplace_back(keys[i], values[i]);
  api_.ReleaseKeyValuePairs(pairs);
  return entries;
}

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
