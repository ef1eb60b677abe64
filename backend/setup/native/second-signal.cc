// Ends the process at the second SIGINT or SIGTERM, from the signal handler itself. Node.js hears of signals in its event
// loop, which a long computation or native code may hold for ever. The first signal goes on to Node.js as before.
#include <node_api.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

namespace {

const int kSignals[] = {SIGINT, SIGTERM};
struct sigaction node_action[NSIG];
volatile sig_atomic_t heard = 0;

// Only what is safe in a handler: no allocation, no locks, no exit handlers.
void Handle(int number) {
  if (heard) {
    const char show_cursor[] = "\x1b[?25h"; // a progress bar may have hidden it
    if (isatty(STDERR_FILENO) && write(STDERR_FILENO, show_cursor, strlen(show_cursor)) < 0) _exit(128 + number);
    _exit(128 + number);
  }
  heard = 1;
  node_action[number].sa_handler(number);
}

}  // namespace

// Node.js must listen to both signals already: its handlers are what the first signal is passed to.
NAPI_MODULE_INIT() {
  for (const int number : kSignals) {
    struct sigaction *action = &node_action[number];
    if (sigaction(number, nullptr, action) != 0 || (action->sa_flags & SA_SIGINFO) || action->sa_handler == SIG_DFL ||
        action->sa_handler == SIG_IGN || action->sa_handler == Handle)
      continue;
    struct sigaction ours = *action;
    ours.sa_handler = Handle;
    sigaction(number, &ours, nullptr);
  }
  return exports;
}
