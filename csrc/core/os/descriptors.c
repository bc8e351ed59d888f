#include "os/descriptors.h"

#include <dirent.h>
#include <stddef.h>
#include <sys/resource.h>

bool
lm_descriptors_count(unsigned long *limit, unsigned long *open)
{
  struct rlimit limits;
  if (getrlimit(RLIMIT_NOFILE, &limits) != 0 || limits.rlim_cur == RLIM_INFINITY)
    return false;
  *limit = (unsigned long)limits.rlim_cur;
  *open = 0;
  DIR *folder = opendir("/proc/self/fd");
  if (folder != NULL) {
    while (readdir(folder) != NULL)
      ++*open;
    closedir(folder);
  }
  return true;
}
