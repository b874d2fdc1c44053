// A pool of threads that closes a job without waiting for workers which have not started on it.
//
// On a machine with other work a worker may wake late; the caller and the workers that did start share the chunks, and
// a latecomer finds the job closed. With one core taken this is several times faster than an OpenMP parallel region.
#pragma once

#include <functional>

namespace headsplat {

// Calls body(begin, end, worker) over [0, count) in chunks of `grain`, on at most `threads` threads, the caller's
// included; `worker` tells them apart, in [0, max(threads, 1)). Which thread takes which chunk varies: results must
// depend on the chunk alone. While another caller holds the pool, the work is done on the calling thread.
void parallel_for(int count, int grain, int threads, const std::function<void(int, int, int)>& body);

}  // namespace headsplat
