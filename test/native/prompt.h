// Random calls of the sums of a prompt's attention, each against its definition in float64.
#pragma once

namespace hs {

void prompt();

}  // namespace hs
