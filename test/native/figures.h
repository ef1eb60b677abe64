// Calls whose figures NumPy made (test/oracles/kernels.py).
#pragma once

namespace hs {

/** Makes the first `count` of the calls and compares each with its figure in a file. @return how many there are */
int compareFigures(const char* file, int count);

}  // namespace hs
