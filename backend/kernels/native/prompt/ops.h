// Sums of a prompt's attention for TensorFlow.
#pragma once
#include <tensorflow/c/tf_status.h>

namespace hs {

/** Registers HsLineSums and HsAntidiagonalSums. @param status the first failure */
void registerPrompt(TF_Status* status);

}  // namespace hs
