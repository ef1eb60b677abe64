// The gradient of a random narrow model: it must foretell how the loss moves, and have the bits of one thread's.
#pragma once

namespace hs {

void gradients();

}  // namespace hs
