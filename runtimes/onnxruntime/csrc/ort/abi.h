// The part of ONNX Runtime's public C ABI that this library uses, declared by slot number.
//
// No package registry that a build can count on ships onnxruntime_c_api.h. The table of functions only ever
// grows, so a slot keeps its meaning; tests compare this file with the real header wherever one is found.
#ifndef HETC_ORT_ABI_H_
#define HETC_ORT_ABI_H_

#include <cstddef>
#include <cstdint>

extern "C" {

struct OrtStatus;
struct OrtValue;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;
struct OrtShapeInferContext;
struct OrtKeyValuePairs;
struct OrtApi;

enum OrtErrorCode { ORT_OK = 0, ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2, ORT_NOT_IMPLEMENTED = 9 };

enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED = 0,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 = 3,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16 = 4,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16 = 5,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 = 6,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING = 8,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL = 9,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 = 10,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE = 11,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32 = 12,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64 = 13,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64 = 14,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128 = 15,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 = 16,
};

enum OrtCustomOpInputOutputCharacteristic {
  INPUT_OUTPUT_REQUIRED = 0,
  INPUT_OUTPUT_OPTIONAL,
  INPUT_OUTPUT_VARIADIC
};
enum OrtMemType { OrtMemTypeDefault = 0 };

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version) noexcept;
  const char* (*GetVersionString)() noexcept;
};

// Version 17 of the structure: ONNX Runtime reads no member past InferOutputShapeFn.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  ONNXTensorElementDataType (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  ONNXTensorElementDataType (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  OrtMemType (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
};

// Unused slots are kept as counted gaps; the number before each function is its slot.
struct OrtApi {
  /*   0 */ OrtStatus* (*CreateStatus)(OrtErrorCode code, const char* message) noexcept;
  void* gap_1[1];
  /*   2 */ const char* (*GetErrorMessage)(const OrtStatus*) noexcept;
  void* gap_3[23];
  /*  26 */ OrtStatus* (*CreateCustomOpDomain)(const char* domain, OrtCustomOpDomain** out) noexcept;
  /*  27 */ OrtStatus* (*CustomOpDomain_Add)(OrtCustomOpDomain*, const OrtCustomOp*) noexcept;
  /*  28 */ OrtStatus* (*AddCustomOpDomain)(OrtSessionOptions*, OrtCustomOpDomain*) noexcept;
  void* gap_29[22];
  /*  51 */ OrtStatus* (*GetTensorMutableData)(OrtValue*, void** out) noexcept;
  void* gap_52[8];
  /*  60 */ OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo*,
                                               ONNXTensorElementDataType* out) noexcept;
  /*  61 */ OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, size_t* out) noexcept;
  /*  62 */ OrtStatus* (*GetDimensions)(const OrtTensorTypeAndShapeInfo*, int64_t* dims,
                                        size_t count) noexcept;
  void* gap_63[2];
  /*  65 */ OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo** out) noexcept;
  void* gap_66[19];
  /*  85 */ OrtStatus* (*KernelInfoGetAttribute_float)(const OrtKernelInfo*, const char* name,
                                                       float* out) noexcept;
  /*  86 */ OrtStatus* (*KernelInfoGetAttribute_int64)(const OrtKernelInfo*, const char* name,
                                                       int64_t* out) noexcept;
  /*  87 */ OrtStatus* (*KernelInfoGetAttribute_string)(const OrtKernelInfo*, const char* name, char* out,
                                                        size_t* size) noexcept;
  void* gap_88[2];
  /*  90 */ OrtStatus* (*KernelContext_GetInput)(const OrtKernelContext*, size_t index,
                                                 const OrtValue** out) noexcept;
  /*  91 */ OrtStatus* (*KernelContext_GetOutput)(OrtKernelContext*, size_t index, const int64_t* dims,
                                                  size_t count, OrtValue** out) noexcept;
  void* gap_92[1];
  /*  93 */ void (*ReleaseStatus)(OrtStatus*) noexcept;
  void* gap_94[5];
  /*  99 */ void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*) noexcept;
  void* gap_100[62];
  /* 162 */ OrtStatus* (*KernelInfoGetAttributeArray_float)(const OrtKernelInfo*, const char* name,
                                                            float* out, size_t* size) noexcept;
  void* gap_163[67];
  /* 230 */ OrtStatus* (*KernelInfo_GetInputCount)(const OrtKernelInfo*, size_t* out) noexcept;
  void* gap_231[1];
  /* 232 */ OrtStatus* (*KernelInfo_GetInputName)(const OrtKernelInfo*, size_t index, char* out,
                                                  size_t* size) noexcept;
  void* gap_233[16];
  /* 249 */ OrtStatus* (*KernelInfoGetConstantInput_tensor)(const OrtKernelInfo*, size_t index,
                                                            int* is_constant, const OrtValue** out) noexcept;
  void* gap_250[18];
  /* 268 */ OrtStatus* (*ShapeInferContext_GetInputTypeShape)(const OrtShapeInferContext*, size_t index,
                                                              OrtTensorTypeAndShapeInfo** out) noexcept;
  void* gap_269[1];
  /* 270 */ OrtStatus* (*ShapeInferContext_SetOutputTypeShape)(const OrtShapeInferContext*, size_t index,
                                                               const OrtTensorTypeAndShapeInfo*) noexcept;
  void* gap_271[3];
  /* 274 */ OrtStatus* (*KernelContext_ParallelFor)(const OrtKernelContext*, void (*function)(void*, size_t),
                                                    size_t total, size_t batches, void* data) noexcept;
  void* gap_275[23];
  /* 298 */ void (*GetKeyValuePairs)(const OrtKeyValuePairs*, const char* const** keys,
                                     const char* const** values, size_t* count) noexcept;
  void* gap_299[1];
  /* 300 */ void (*ReleaseKeyValuePairs)(OrtKeyValuePairs*) noexcept;
  void* gap_301[90];
  /* 391 */ OrtStatus* (*KernelInfo_GetConfigEntries)(const OrtKernelInfo*, OrtKeyValuePairs** out) noexcept;
};

}  // extern "C"

// KernelInfo_GetConfigEntries came with this version of the API (ONNX Runtime 1.24).
constexpr uint32_t kOrtApiVersion = 24;
constexpr uint32_t kOrtCustomOpVersion = 17;

static_assert(offsetof(OrtCustomOp, InferOutputShapeFn) == 19 * sizeof(void*), "OrtCustomOp layout");
static_assert(offsetof(OrtApi, AddCustomOpDomain) == 28 * sizeof(void*), "OrtApi layout");
static_assert(offsetof(OrtApi, ReleaseTensorTypeAndShapeInfo) == 99 * sizeof(void*), "OrtApi layout");
static_assert(offsetof(OrtApi, KernelInfoGetConstantInput_tensor) == 249 * sizeof(void*), "OrtApi layout");
static_assert(offsetof(OrtApi, KernelInfo_GetConfigEntries) == 391 * sizeof(void*), "OrtApi layout");

#endif  // HETC_ORT_ABI_H_
