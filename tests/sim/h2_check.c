/* Connections over HTTP/2 that have gone silent, as the core sees them. */
#include "dispatch/dispatch.h"
#include "fiber.h"
#include "h2_server.h"
#include "http/http2_stream.h"
#include "job/job.h"
#include "net.h"
#include "os/seams.h"
#include "record.h"
#include "transport/h2.h"
#include "transport/pool.h"
#include "world.h"

/* How late a PING may be; and how long an attempt may have waited for its connection. */
static const int64_t LATE_NS = 1500000000, WAIT_NS = 20000000000;

static int64_t frozen_before; /* at the last check */

/* A request on a path that is dead ends after two periods of silence. */
static void
check_jobs(const struct lm_io *io)
{
  LM_LIST_EACH (&io->turn.active, node) {
    const struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    const struct sim_peer *peer = sim_peer_of(&job->conn->stream);
    if (!peer->http2 || !peer->stalled)
      continue;
    int64_t since = job->started_ns > peer->stalled_ns ? job->started_ns : peer->stalled_ns;
    int64_t most = 2 * lm_periods.silence_ns + WAIT_NS + sim_frozen() - peer->frozen_before_ns;
    if (sim_now() - since > most)
      record_broken(PROGRESS, "connection %u is dead, and has had a request for %.3f s", peer->id,
                    (double)(sim_now() - since) / 1e9);
  }
}

void
sim_h2_count_at_stake(struct sim_h2_connection *h2)
{
  for (unsigned i = 0; i < sim_world.dispatch->crew.n_io; i++)
    LM_LIST_EACH (&sim_world.dispatch->crew.io[i]->turn.active, node) {
      const struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
      /* One without an id is about to be opened. */
      if (job->stream == NULL || job->stream->id == 0 ||
          sim_peer_of(&job->conn->stream) != h2->peer)
        continue;
      const struct sim_stream *stream =
          nghttp2_session_get_stream_user_data(h2->session, job->stream->id);
      bool arrives = job->stream->id > h2->came_id, open = stream != NULL && !stream->answered;
      h2->at_stake += arrives || open;
      if (h2->stake_id < (uint32_t)job->stream->id)
        h2->stake_id = (uint32_t)job->stream->id;
    }
}

void
sim_h2_check_silence(void)
{
  int64_t most = LATE_NS + sim_frozen() - frozen_before;
  bool skipped = sim_world.shut_down || sim_world.starves || frozen_before > sim_frozen();
  frozen_before = sim_frozen();
  for (unsigned i = 0; !skipped && i < sim_world.dispatch->crew.n_io; i++) {
    check_jobs(sim_world.dispatch->crew.io[i]);
    LM_LIST_EACH (&sim_world.dispatch->crew.io[i]->pools, node) {
      const struct lm_pool *pool = LM_CONTAINER(node, struct lm_pool, link);
      LM_LIST_EACH (&pool->site.shared, at) {
        const struct lm_conn *conn = LM_CONTAINER(at, struct lm_conn, link);
        if (sim_now() - lm_h2_due(conn) > most)
          record_broken(PROGRESS, "connection %u has been silent, and nothing is done",
                        sim_peer_of(&conn->stream)->id);
      }
    }
  }
}
