// A random block against its definition in float64.
#pragma once

namespace hs {

void block();

}  // namespace hs
