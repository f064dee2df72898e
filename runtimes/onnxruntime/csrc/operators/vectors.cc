#include "operators/vectors.h"

#include "vector/vector_code.h"

namespace hetc {

Vectors::Vectors(const KernelContext& context, size_t inputs)
    : tensor_(context.input(0)), type_(element_type(tensor_.type, "x")), rows_(1), data_(nullptr) {
  if (tensor_.shape.empty() || tensor_.shape.back() != static_cast<int64_t>(inputs))
    throw Error("x has shape " + shape_text(tensor_.shape) + "; allowed: [..., " + std::to_string(inputs) +
                "]");
  rows_ = tensor_.size() / inputs;
  data_ = static_cast<const float*>(tensor_.data);
  if (type_ == ElementType::kFloat32) return;
  converted_.resize(tensor_.size());
  vector_code().to_float(type_, tensor_.data, converted_.size(), converted_.data());
  data_ = converted_.data();
}

std::vector<int64_t> Vectors::output_shape(size_t outputs) const {
  std::vector<int64_t> shape = tensor_.shape;
  shape.back() = static_cast<int64_t>(outputs);
  return shape;
}

Result::Result(const KernelContext& context, const Vectors& x, size_t columns)
    : type_(x.type()),
      output_(context.output(0, x.output_shape(columns))),
      buffer_(type_ == ElementType::kFloat32 ? 0 : x.rows() * columns) {}

void Result::finish() {
  if (type_ != ElementType::kFloat32)
    vector_code().from_float(type_, buffer_.data(), buffer_.size(), output_);
}

std::vector<float> read_bias(const KernelInfo& info, size_t index, const std::string& name, size_t length) {
  const std::optional<Tensor> tensor = info.constant(index, name);
  if (!tensor) return {};
  const ElementType type = element_type(tensor->type, name);
  if (tensor->shape != std::vector<int64_t>{static_cast<int64_t>(length)})
    throw Error(name + " has shape " + shape_text(tensor->shape) + "; allowed: [" + std::to_string(length) +
                "]");
  std::vector<float> bias(length);
  vector_code().to_float(type, tensor->data, length, bias.data());
  return bias;
}

}  // namespace hetc
