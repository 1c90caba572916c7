#include "signals.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { first = 1, last = 31 };

struct signals {
  struct sigaction old[last + 1];
  char known[last + 1];
};

signals *signals_save(void) {
  signals *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  for (int n = first; n <= last; n++) s->known[n] = sigaction(n, NULL, &s->old[n]) == 0;
  return s;
}

static int same(const struct sigaction *a, const struct sigaction *b) {
  if (a->sa_flags != b->sa_flags) return 0;
  return a->sa_flags & SA_SIGINFO ? a->sa_sigaction == b->sa_sigaction : a->sa_handler == b->sa_handler;
}

void signals_restore(signals *s) {
  if (!s) return;
  for (int n = first; n <= last; n++) {
    struct sigaction now;
    if (!s->known[n] || sigaction(n, NULL, &now) || same(&now, &s->old[n])) continue;
    sigaction(n, &s->old[n], NULL);
  }
  free(s);
}
