// Caches and attention for TensorFlow and Node.js.
#pragma once
#include <tensorflow/c/tf_status.h>

#define NAPI_VERSION 8
#include <node_api.h>

#include "../call.h"
#include "attention.h"

namespace hs {

/** Registers HsCacheWrite, HsCacheRead and HsAttend. @param status the first failure */
void registerAttention(TF_Status* status);

/** An output for the pattern of a call that is right [tokens, heads, columns], zeros so far. @return null where the op has failed */
float* patternOutput(Call& c, int number, const AttentionCall& call);

/** Adds what makes, copies, frees and counts pages to the library's exports. */
void addPages(napi_env env, napi_value exports);

}  // namespace hs
