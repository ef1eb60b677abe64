// The ops of training.
#pragma once
#include <tensorflow/c/tf_status.h>

namespace hs {

/** Registers them. @param status the first failure */
void registerTraining(TF_Status* status);

}  // namespace hs
