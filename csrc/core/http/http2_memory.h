/* The core's allocator for nghttp2, so that tests can make each of its allocations fail, too. */
#ifndef LM_HTTP_HTTP2_MEMORY_H
#define LM_HTTP_HTTP2_MEMORY_H

#include <nghttp2/nghttp2.h>

nghttp2_mem lm_http2_memory(void);

#endif
