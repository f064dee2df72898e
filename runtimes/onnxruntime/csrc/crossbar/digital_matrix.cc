// The copy holds the weights as they are: in bfloat16 if that is their type, else in float32.
#include "crossbar/digital_matrix.h"

#include "crossbar/product.h"
#include "vector/vector_code.h"

namespace hetc {
namespace {

bool is_part_of_stored_rows(const Weight& weight) {
  return (weight.transposed ? weight.row_numbers : weight.column_numbers) != nullptr;
}

}  // namespace

DigitalMatrix::DigitalMatrix(const Weight& weight)
    : weight_(weight), slices_(partial_sums(weight)), copies_(is_part_of_stored_rows(weight)), panels_{} {}

void DigitalMatrix::copy(const KernelContext& context) {
  const VectorCode& code = vector_code();
  panels_.reserve(weight_.type == ElementType::kBfloat16 ? Store::kBfloat16 : Store::kFloat32, slices_,
                  weight_.columns);
  context.parallel_for(panel_count(weight_.columns), [&](size_t panel) {
    std::vector<float> block;
    for (size_t s = 0; s < slices_.size(); ++s) {
      const auto [begin, end] = slices_[s];
      block.resize((end - begin) * kPanelColumns);
      code.load_block(weight_, begin, end - begin, panel * kPanelColumns, block.data());
      code.store_block(panels_.store, block.data(), end - begin, nullptr, panels_.at(panel, s));
    }
  });
}

void DigitalMatrix::multiply(const KernelContext& context, const float* x, size_t rows, float* y, bool add) {
  if (copies_) std::call_once(copied_, [&] { copy(context); });
  multiply_exact(context, {weight_, slices_, copies_ ? &panels_ : nullptr}, x, rows, y, add);
}

}  // namespace hetc
