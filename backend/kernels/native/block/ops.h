// The block for TensorFlow.
#pragma once
#include <tensorflow/c/tf_status.h>

namespace hs {

/** Registers HsBlock. @param status the first failure */
void registerBlock(TF_Status* status);

}  // namespace hs
