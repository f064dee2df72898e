/* Runs a bundle of hetc from C: token ids in, the logits of the last token out.
 *
 *   embed LIBONNXRUNTIME BUNDLE [hetc.KEY=VALUE ...] TOKEN ...
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "onnxruntime_slots.h"

enum { API_VERSION = 24, MOST_DIMENSIONS = 8 };

static const OrtApi* api;

static void fail(const char* what, const char* why) {
  fprintf(stderr, "embed: %s: %s\n", what, why);
  exit(1);
}

static void check(const char* what, OrtStatus* status) {
  if (status != NULL) fail(what, api->GetErrorMessage(status));
}

static void* allocate(size_t count, size_t size) {
  void* memory = calloc(count > 0 ? count : 1, size);
  if (memory == NULL) fail("memory", "none left");
  return memory;
}

static void load_onnxruntime(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) fail(path, dlerror());
  const OrtApiBase* (*get_api_base)(void);
  *(void**)&get_api_base = dlsym(library, "OrtGetApiBase");
  if (get_api_base == NULL) fail(path, "is not ONNX Runtime (it has no OrtGetApiBase)");
  api = get_api_base()->GetApi(API_VERSION);
  if (api == NULL) fail("ONNX Runtime 1.24 or newer is needed, this is", get_api_base()->GetVersionString());
}

/* BUNDLE/lib/linux-x86_64/libhetc_ops.so, by the names of this machine. A path without a slash would be
 * looked for in the loader's directories instead. */
static void library_of(const char* bundle, char* path, size_t size) {
  struct utsname machine;
  if (uname(&machine) != 0) fail("uname", strerror(errno));
  for (char* letter = machine.sysname; *letter != '\0'; ++letter)
    *letter = (char)tolower((unsigned char)*letter);
  const char* suffix = strcmp(machine.sysname, "darwin") == 0 ? "dylib" : "so";
  const char* here = strchr(bundle, '/') == NULL ? "./" : "";
  snprintf(path, size, "%s%s/lib/%s-%s/libhetc_ops.%s", here, bundle, machine.sysname, machine.machine,
           suffix);
}

static void add_entry(OrtSessionOptions* options, const char* argument) {
  char* key = allocate(strlen(argument) + 1, 1);
  strcpy(key, argument);
  char* value = strchr(key, '=');
  *value++ = '\0';
  check(argument, api->AddSessionConfigEntry(options, key, value));
  free(key);
}

static int64_t parse_token(const char* text) {
  char* end = NULL;
  errno = 0;
  const long long token = strtoll(text, &end, 10);
  if (end == text || *end != '\0' || errno != 0 || token < 0) fail(text, "is not a token id");
  return token;
}

/* The value of one input of a cached language model at the first step: batch 1, nothing cached. */
static int64_t element(const char* name, const int64_t* tokens, size_t i) {
  if (strcmp(name, "input_ids") == 0) return tokens[i];
  if (strcmp(name, "position_ids") == 0) return (int64_t)i;
  if (strcmp(name, "attention_mask") == 0) return 1;
  fail(name, "is not an input of a language model with KV cache");
  return 0;
}

static OrtValue* make_input(const OrtSession* session, size_t index, const char* name,
                            const OrtMemoryInfo* memory, const int64_t* tokens, size_t count,
                            int64_t** data) {
  OrtTypeInfo* info = NULL;
  check(name, api->SessionGetInputTypeInfo(session, index, &info));
  const OrtTensorTypeAndShapeInfo* tensor = NULL;
  ONNXTensorElementDataType type;
  size_t rank = 0;
  int64_t dims[MOST_DIMENSIONS];
  check(name, api->CastTypeInfoToTensorInfo(info, &tensor));
  check(name, api->GetTensorElementType(tensor, &type));
  check(name, api->GetDimensionsCount(tensor, &rank));
  if (rank > MOST_DIMENSIONS) fail(name, "has too many dimensions");
  check(name, api->GetDimensions(tensor, dims, rank));
  api->ReleaseTypeInfo(info);

  const int cache = strncmp(name, "past_key_values.", 16) == 0;
  dims[0] = 1;
  if (cache)
    dims[2] = 0; /* [batch, heads, cached tokens, width] */
  else
    dims[1] = (int64_t)count;
  const size_t elements = cache ? 0 : count;
  *data = allocate(elements, sizeof **data);
  for (size_t i = 0; i < elements; ++i) (*data)[i] = element(name, tokens, i);
  OrtValue* value = NULL;
  check(name, api->CreateTensorWithDataAsOrtValue(memory, *data, elements * sizeof **data, dims, rank, type,
                                                  &value));
  return value;
}

/* Prints "id logit" of the last token; nine digits give back every bit of a float. */
static void print_last(OrtValue* logits) {
  OrtTensorTypeAndShapeInfo* info = NULL;
  int64_t dims[3]; /* [batch, tokens, vocabulary] */
  float* values = NULL;
  check("logits", api->GetTensorTypeAndShape(logits, &info));
  check("logits", api->GetDimensions(info, dims, 3));
  check("logits", api->GetTensorMutableData(logits, (void**)&values));
  api->ReleaseTensorTypeAndShapeInfo(info);
  const float* last = values + (dims[1] - 1) * dims[2];
  for (int64_t id = 0; id < dims[2]; ++id) printf("%" PRId64 " %.9g\n", id, (double)last[id]);
}

int main(int argc, char** argv) {
  if (argc < 4) fail("usage", "embed LIBONNXRUNTIME BUNDLE [hetc.KEY=VALUE ...] TOKEN ...");
  load_onnxruntime(argv[1]);
  OrtEnv* env = NULL;
  OrtSessionOptions* options = NULL;
  check("CreateEnv", api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "embed", &env));
  check("CreateSessionOptions", api->CreateSessionOptions(&options));
  check("SetIntraOpNumThreads", api->SetIntraOpNumThreads(options, 1));

  char path[4096];
  library_of(argv[2], path, sizeof path);
  check(path, api->RegisterCustomOpsLibrary_V2(options, path));

  int64_t* tokens = allocate((size_t)argc, sizeof *tokens);
  size_t count = 0;
  for (int i = 3; i < argc; ++i) {
    if (strchr(argv[i], '=') != NULL)
      add_entry(options, argv[i]);
    else
      tokens[count++] = parse_token(argv[i]);
  }
  if (count == 0) fail("usage", "give at least one token id");

  OrtSession* session = NULL;
  snprintf(path, sizeof path, "%s/model.onnx", argv[2]);
  check(path, api->CreateSession(env, path, options, &session));

  OrtAllocator* allocator = NULL;
  OrtMemoryInfo* memory = NULL;
  size_t inputs = 0;
  check("allocator", api->GetAllocatorWithDefaultOptions(&allocator));
  check("memory", api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
  check("inputs", api->SessionGetInputCount(session, &inputs));
  char** names = allocate(inputs, sizeof *names);
  int64_t** data = allocate(inputs, sizeof *data);
  OrtValue** values = allocate(inputs, sizeof *values);
  for (size_t i = 0; i < inputs; ++i) {
    check("input", api->SessionGetInputName(session, i, allocator, &names[i]));
    values[i] = make_input(session, i, names[i], memory, tokens, count, &data[i]);
  }

  const char* output_name = "logits";
  OrtValue* logits = NULL;
  check("Run", api->Run(session, NULL, (const char* const*)names, (const OrtValue* const*)values, inputs,
                        &output_name, 1, &logits));
  print_last(logits);

  api->ReleaseValue(logits);
  for (size_t i = 0; i < inputs; ++i) {
    api->ReleaseValue(values[i]);
    check(names[i], api->AllocatorFree(allocator, names[i]));
    free(data[i]);
  }
  free(values);
  free(data);
  free(names);
  free(tokens);
  api->ReleaseMemoryInfo(memory);
  api->ReleaseSession(session);
  api->ReleaseSessionOptions(options);
  api->ReleaseEnv(env);
  return 0;
}
