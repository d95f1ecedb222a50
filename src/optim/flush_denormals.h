#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace bertdist {

// While it lives, this thread takes numbers too small for a normal float as zero. AdamW's means of a parameter whose
// gradient stays zero, such as the embedding of a word that occurs once, decay into such numbers after some 800 steps,
// and an operation on one takes a hundred times as long.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) {
    _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
  }
  ~FlushDenormals() {
    _mm_setcsr(saved_);
  }
#else
  FlushDenormals() = default;
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr unsigned kFlushToZero = 0x8000;
  static constexpr unsigned kDenormalsAreZero = 0x0040;
  unsigned saved_;
#endif
};

}  // namespace bertdist
