// x and y of a kernel: any of three types outside, float32 inside.
#ifndef HETC_OPERATORS_VECTORS_H_
#define HETC_OPERATORS_VECTORS_H_

#include <optional>
#include <vector>

#include "ort/ort.h"

namespace hetc {

// x as [rows, inputs] float32; refers to the tensor where that is float32 already.
class Vectors {
 public:
  // Throws Error unless x has at least one dimension and the last one is `inputs`.
  Vectors(const KernelContext& context, size_t inputs);

  const float* data() const { return data_; }
  size_t rows() const { return rows_; }
  // The shape of y, with `outputs` as last dimension.
  std::vector<int64_t> output_shape(size_t outputs) const;
  ElementType type() const { return type_; }

 private:
  Tensor tensor_;
  ElementType type_;
  size_t rows_;
  std::vector<float> converted_;
  const float* data_;
};

// y[rows, columns]: written as float32, handed over in its own type by `finish`.
class Result {
 public:
  Result(const KernelContext& context, const Vectors& x, size_t columns);

  float* data() { return type_ == ElementType::kFloat32 ? static_cast<float*>(output_) : buffer_.data(); }
  void finish();

 private:
  ElementType type_;
  void* output_;
  std::vector<float> buffer_;
};

// An optional constant bias of `length` values, as float32; empty if the node has none.
std::vector<float> read_bias(const KernelInfo& info, size_t index, const std::string& name, size_t length);

}  // namespace hetc

#endif  // HETC_OPERATORS_VECTORS_H_
