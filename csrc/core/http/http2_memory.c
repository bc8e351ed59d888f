#include "http/http2_memory.h"

#include "base/alloc.h"

static size_t
http2_memory_at_least_one(size_t size) /* nghttp2 takes NULL for a failure, whatever the size */
{
  return size > 0 ? size : 1;
}

static void *
http2_memory_malloc(size_t size, void *user_data)
{
  (void)user_data;
  return lm_alloc(http2_memory_at_least_one(size));
}

static void
http2_memory_free(void *block, void *user_data)
{
  (void)user_data;
  lm_free(block);
}

static void *
http2_memory_calloc(size_t count, size_t size, void *user_data)
{
  (void)user_data;
  return lm_alloc_zero(http2_memory_at_least_one(count), http2_memory_at_least_one(size));
}

static void *
http2_memory_realloc(void *block, size_t size, void *user_data)
{
  (void)user_data;
  return lm_realloc(block, http2_memory_at_least_one(size));
}

nghttp2_mem
lm_http2_memory(void)
{
  return (nghttp2_mem){NULL, http2_memory_malloc, http2_memory_free, http2_memory_calloc,
                       http2_memory_realloc};
}
