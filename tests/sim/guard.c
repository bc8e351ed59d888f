#include "guard.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "record.h"

struct shared {
  bool returned;
  char at[120];
};

static struct shared *shared; /* with the other process */

void
sim_guard_at(const char *format, ...)
{
  va_list args;
  if (shared == NULL)
    return;
  va_start(args, format);
  vsnprintf(shared->at, sizeof shared->at, format, args);
  va_end(args);
}

int
sim_guarded(int (*run)(const void *argument), const void *argument)
{
  int status;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED)
    record_must(NULL);
  pid_t child = fork();
  if (child < 0)
    record_must(NULL);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    status = run(argument);
    shared->returned = true;
    exit(status);
  }
  while (waitpid(child, &status, 0) < 0 && errno == EINTR)
    ;
  if (WIFEXITED(status) && shared->returned)
    return WEXITSTATUS(status); /* also that of a sanitizer which looks for leaks at the end */
  printf("%s: crash: %s %d\n", shared->at, WIFSIGNALED(status) ? "signal" : "exit status",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  return 2;
}
