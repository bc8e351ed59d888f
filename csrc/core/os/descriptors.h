/* File descriptors of this process. */
#ifndef LM_OS_DESCRIPTORS_H
#define LM_OS_DESCRIPTORS_H

#include <stdbool.h>

/* How many this process may have, and how many are open. False: there is no limit. Not cheap: it lists
 * /proc/self/fd. */
bool lm_descriptors_count(unsigned long *limit, unsigned long *open);

#endif
