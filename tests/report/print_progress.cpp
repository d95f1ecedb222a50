// Three steps of progress on standard error, as a training run shows them.
#include "report/progress_line.h"

int main() {
  bertdist::ProgressLine line;
  for (int step = 1; step <= 3; ++step) line.update({1, 1, step, 3, 0.5, step * 100});
  line.clear();
}
