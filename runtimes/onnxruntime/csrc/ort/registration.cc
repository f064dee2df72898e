// The adapters between ONNX Runtime's C functions and Operator.
#include "ort/registration.h"

#include <algorithm>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "ort/status.h"

namespace hetc {
namespace {

// ONNX Runtime takes an operator once per type of x: that fixes the type of the output, while all other
// inputs may have any type. Types that no kernel takes are registered too, so that the refusal can name the
// unit.
struct Registration : OrtCustomOp {
  const OrtApi* api;
  const Operator* definition;
  ONNXTensorElementDataType x_type;
};

struct LoadedKernel {
  const OrtApi& api;
  std::string unit;
  std::unique_ptr<Kernel> kernel;
};

const Registration& registration(const OrtCustomOp* op) { return *static_cast<const Registration*>(op); }

std::string unit_of(const Operator& definition, const KernelInfo& info) {
  if (info.has_text("unit")) return info.text("unit");
  const std::string name = info.input_name(definition.naming_input);
  return name.empty() ? definition.name : name;
}

OrtStatus* create_kernel(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* handle, void** out) {
  const Operator& definition = *registration(op).definition;
  std::string unit = definition.name;
  const KernelInfo info(*api, handle);
  OrtStatus* status = guarded(*api, unit, [&] { unit = unit_of(definition, info); });
  if (status != nullptr) return status;
  return guarded(*api, unit, [&] {
    auto kernel = definition.create(info, registration(op).x_type);
    *out = new LoadedKernel{*api, unit, std::move(kernel)};
  });
}

OrtStatus* compute(void* data, OrtKernelContext* handle) {
  LoadedKernel& loaded = *static_cast<LoadedKernel*>(data);
  return guarded(loaded.api, loaded.unit, [&] { loaded.kernel->compute(KernelContext(loaded.api, handle)); });
}

OrtStatus* infer_same_shape(const OrtCustomOp* op, OrtShapeInferContext* context) {
  const OrtApi& api = *registration(op).api;
  OrtTensorTypeAndShapeInfo* info = nullptr;  // stays the context's
  OrtStatus* status = api.ShapeInferContext_GetInputTypeShape(context, 0, &info);
  size_t rank = 0;
  if (status == nullptr) status = api.GetDimensionsCount(info, &rank);
  // Rank 0 also stands for "unknown" here.
  if (status == nullptr && rank > 0) status = api.ShapeInferContext_SetOutputTypeShape(context, 0, info);
  return status;
}

Registration make_registration(const OrtApi* api, const Operator& definition,
                               ONNXTensorElementDataType x_type) {
  Registration op{};
  op.version = kOrtCustomOpVersion;
  op.api = api;
  op.definition = &definition;
  op.x_type = x_type;
  op.GetName = [](const OrtCustomOp* self) { return registration(self).definition->name; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
  op.GetInputTypeCount = [](const OrtCustomOp* self) { return registration(self).definition->inputs; };
  op.GetInputType = [](const OrtCustomOp* self, size_t index) {
    return index == 0 ? registration(self).x_type : ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  };
  op.GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
  op.GetOutputType = [](const OrtCustomOp* self, size_t) { return registration(self).x_type; };
  op.GetInputCharacteristic = [](const OrtCustomOp* self, size_t index) {
    const std::vector<size_t>& required = registration(self).definition->required;
    const bool given = std::find(required.begin(), required.end(), index) != required.end();
    return given ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  const auto zero = [](const OrtCustomOp*) { return 0; };
  op.GetVariadicInputMinArity = zero;
  op.GetVariadicInputHomogeneity = zero;
  op.GetVariadicOutputMinArity = zero;
  op.GetVariadicOutputHomogeneity = zero;
  op.CreateKernelV2 = create_kernel;
  op.KernelComputeV2 = compute;
  op.KernelDestroy = [](void* kernel) { delete static_cast<LoadedKernel*>(kernel); };
  // Only with a single input: ONNX Runtime's inference context reads the type of inputs that a node leaves
  // out.
  if (definition.same_shape) op.InferOutputShapeFn = infer_same_shape;
  return op;
}

// The domain of one ONNX Runtime in the process. Session options keep pointers to it, so it is never
// released.
struct Library {
  const OrtApi* api;
  std::list<Registration> operators;
  OrtCustomOpDomain* domain = nullptr;
};

void fill(Library* library, Operators definitions) {
  constexpr ONNXTensorElementDataType kTypes[] = {
      ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,     ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,    ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,    ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,   ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
      ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,     ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING};
  for (const Operator* definition : definitions)
    for (ONNXTensorElementDataType type : kTypes)
      library->operators.push_back(make_registration(library->api, *definition, type));
  check(*library->api, library->api->CreateCustomOpDomain("hetc", &library->domain));
  for (const Registration& op : library->operators)
    check(*library->api, library->api->CustomOpDomain_Add(library->domain, &op));
}

Library& library_for(const OrtApi* api, Operators definitions) {
  static std::mutex mutex;
  static std::list<Library>& libraries = *new std::list<Library>;
  const std::lock_guard<std::mutex> lock(mutex);
  for (Library& library : libraries)
    if (library.api == api) return library;
  Library library{api, {}, nullptr};
  libraries.push_back(std::move(library));
  try {
    fill(&libraries.back(), definitions);
  } catch (...) {
    libraries.pop_back();
    throw;
  }
  return libraries.back();
}

}  // namespace

OrtStatus* register_operators(OrtSessionOptions* options, const OrtApiBase* base, Operators operators) {
  const OrtApi* api = base->GetApi(kOrtApiVersion);
  if (api == nullptr) {
    // An older ONNX Runtime: only the functions of its own first version are sure to be there.
    const OrtApi* oldest = base->GetApi(1);
    const std::string message = std::string("libhetc_ops needs ONNX Runtime 1.24 or newer; this is ") +
                                base->GetVersionString() + ": pip install -U onnxruntime";
    return oldest == nullptr ? nullptr : oldest->CreateStatus(ORT_NOT_IMPLEMENTED, message.c_str());
  }
  return guarded(*api, "hetc",
                 [&] { check(*api, api->AddCustomOpDomain(options, library_for(api, operators).domain)); });
}

}  // namespace hetc
