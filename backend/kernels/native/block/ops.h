// Blocks for TensorFlow.
#pragma once
#include <tensorflow/c/tf_status.h>

namespace hs {

/** Registers HsBlocks. @param status the first failure */
void registerBlocks(TF_Status* status);

}  // namespace hs
