/* The difference between our clock and the service's. Pure.
 *
 * AWS refuses a signature whose time is more than 5 minutes off. A clock that is 4 minutes off is
 * corrected; one that is right again is believed at once. */
#ifndef LM_POLICY_SKEW_H
#define LM_POLICY_SKEW_H

#include <stdbool.h>
#include <stdint.h>

/* Seconds to add to our clock when signing, after a reply with this Date that came at now_s by our
 * clock. How long the exchange took does not matter: the date is that of the reply. */
int64_t lm_skew_offset(int64_t date_s, int64_t now_s);

/* Whether a signature made with `signed_with` is refused where `known` would not be. */
bool lm_skew_matters(int64_t signed_with, int64_t known);

#endif
