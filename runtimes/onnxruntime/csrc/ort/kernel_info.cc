// Attributes, constant inputs and session entries of a node.
#include "ort/kernel_info.h"

#include "ort/status.h"

namespace hetc {

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

}  // namespace hetc
