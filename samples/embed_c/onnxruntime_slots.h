/* The part of ONNX Runtime's public C ABI that this program uses, declared by slot number.
 *
 * The table of functions only ever grows, so a slot keeps its meaning in every later version; a program that
 * has onnxruntime_c_api.h includes that instead. The number before each function is its slot. */
#ifndef ONNXRUNTIME_SLOTS_H_
#define ONNXRUNTIME_SLOTS_H_

#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtValue OrtValue;

typedef enum { ORT_LOGGING_LEVEL_ERROR = 3 } OrtLoggingLevel;
typedef enum { OrtDeviceAllocator = 0 } OrtAllocatorType;
typedef enum { OrtMemTypeDefault = 0 } OrtMemType;
typedef enum {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 = 10
} ONNXTensorElementDataType;

typedef struct OrtApi {
  void* gap_0[2];
  /*   2 */ const char* (*GetErrorMessage)(const OrtStatus*);
  /*   3 */ OrtStatus* (*CreateEnv)(OrtLoggingLevel level, const char* name, OrtEnv** out);
  void* gap_4[3];
  /*   7 */ OrtStatus* (*CreateSession)(const OrtEnv*, const char* path, const OrtSessionOptions*,
                                        OrtSession** out);
  void* gap_8[1];
  /*   9 */ OrtStatus* (*Run)(OrtSession*, const OrtRunOptions*, const char* const* input_names,
                              const OrtValue* const* inputs, size_t input_count,
                              const char* const* output_names, size_t output_count, OrtValue** outputs);
  /*  10 */ OrtStatus* (*CreateSessionOptions)(OrtSessionOptions** out);
  void* gap_11[13];
  /*  24 */ OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int threads);
  void* gap_25[5];
  /*  30 */ OrtStatus* (*SessionGetInputCount)(const OrtSession*, size_t* out);
  void* gap_31[2];
  /*  33 */ OrtStatus* (*SessionGetInputTypeInfo)(const OrtSession*, size_t index, OrtTypeInfo** out);
  void* gap_34[2];
  /*  36 */ OrtStatus* (*SessionGetInputName)(const OrtSession*, size_t index, OrtAllocator*, char** out);
  void* gap_37[12];
  /*  49 */ OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void* data, size_t bytes,
                                                         const int64_t* dims, size_t count,
                                                         ONNXTensorElementDataType, OrtValue** out);
  void* gap_50[1];
  /*  51 */ OrtStatus* (*GetTensorMutableData)(OrtValue*, void** out);
  void* gap_52[3];
  /*  55 */ OrtStatus* (*CastTypeInfoToTensorInfo)(const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo** out);
  void* gap_56[4];
  /*  60 */ OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo*,
                                               ONNXTensorElementDataType* out);
  /*  61 */ OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, size_t* out);
  /*  62 */ OrtStatus* (*GetDimensions)(const OrtTensorTypeAndShapeInfo*, int64_t* dims, size_t count);
  void* gap_63[2];
  /*  65 */ OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo** out);
  void* gap_66[3];
  /*  69 */ OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo** out);
  void* gap_70[6];
  /*  76 */ OrtStatus* (*AllocatorFree)(OrtAllocator*, void*);
  void* gap_77[1];
  /*  78 */ OrtStatus* (*GetAllocatorWithDefaultOptions)(OrtAllocator** out);
  void* gap_79[13];
  /*  92 */ void (*ReleaseEnv)(OrtEnv*);
  void* gap_93[1];
  /*  94 */ void (*ReleaseMemoryInfo)(OrtMemoryInfo*);
  /*  95 */ void (*ReleaseSession)(OrtSession*);
  /*  96 */ void (*ReleaseValue)(OrtValue*);
  void* gap_97[1];
  /*  98 */ void (*ReleaseTypeInfo)(OrtTypeInfo*);
  /*  99 */ void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);
  /* 100 */ void (*ReleaseSessionOptions)(OrtSessionOptions*);
  void* gap_101[29];
  /* 130 */ OrtStatus* (*AddSessionConfigEntry)(OrtSessionOptions*, const char* key, const char* value);
  void* gap_131[97];
  /* 228 */ OrtStatus* (*RegisterCustomOpsLibrary_V2)(OrtSessionOptions*, const char* path);
} OrtApi;

typedef struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)(void);
} OrtApiBase;

#endif /* ONNXRUNTIME_SLOTS_H_ */
