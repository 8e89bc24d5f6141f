/* A team of workers runs the same list of calls; in each call, every worker does its share, and between calls they meet at a
   barrier. Workers come from one pool a library: started when first asked for, joined when the library is unloaded,
   forgotten in a forked child. They spin shortly for work, then sleep. Whoever finds the pool in use runs alone: results
   do not depend on the number of workers. SPOKESHAVE_SINGLE_THREADED leaves threads out altogether. */
typedef struct {
    int index, count;
} worker;
typedef struct {
    int from, to;
} range;

#define ALONE ((worker){0, 1})
#define MOST_WORKERS 64

/* A worker's part of the numbers 0 ... n - 1; the parts are neighbours in the order of the workers. */
INLINE range share(worker w, int n) {
    if (w.count == 1) return (range){0, n};
    return (range){(int)((int64_t)n * w.index / w.count), (int)((int64_t)n * (w.index + 1) / w.count)};
}

/* The same in whole vectors of lanes. */
INLINE range share_lanes(worker w, int lanes) {
    range vectors = share(w, lanes / LANES);
    return (range){vectors.from * LANES, vectors.to * LANES};
}

/* A part along one axis of a loop nest: the first axis longer than 1 is shared out, the others are gone over whole. */
INLINE range share_axis(worker w, int axis, int n0, int n1, int n2, int n3) {
    int sizes[4] = {n0, n1, n2, n3}, first = 0;
    while (first < 3 && sizes[first] == 1) first++;
    return axis == first ? share(w, sizes[axis]) : (range){0, sizes[axis]};
}

/* A part of panels that cost as much as their columns: panel p has the columns start[p] ... start[p + 1] - 1. */
INLINE int panel_at(const int32_t *start, int panels, int64_t column) {
    int low = 0;
    for (int high = panels; low < high;) {
        int middle = (low + high) / 2;
        if (start[middle] < column) low = middle + 1;
        else high = middle;
    }
    return low;
}
INLINE range share_panels(worker w, const int32_t *start, int panels) {
    if (w.count == 1) return (range){0, panels};
    int64_t columns = start[panels] - start[0];
    if (columns < panels) return share(w, panels); /* panels without a column still have a bias to store */
    range own = {panel_at(start, panels, start[0] + columns * w.index / w.count), panels};
    if (w.index + 1 < w.count) own.to = panel_at(start, panels, start[0] + columns * (w.index + 1) / w.count);
    return own;
}

/* A part of an element-wise function: whole channels, or lanes where there is only one channel. */
typedef struct {
    range channels, lanes;
} extent;
INLINE extent share_extent(worker w, int channels, int lanes) {
    if (channels > 1) return (extent){share(w, channels), {0, lanes}};
    return (extent){{0, channels}, share_lanes(w, lanes)};
}
#define EACH_VECTOR(own, c, i)                                      \
    for (int c = (own).channels.from; c < (own).channels.to; c++)   \
        for (int i = (own).lanes.from; i < (own).lanes.to; i += LANES)

/* What one call of the library asks for. `work` runs `group` samples from `sample` on by one worker of a team, on the
   team's arena; they are at most `most`, for so many an arena has room. */
typedef struct request request;
struct request {
    void (*work)(const request *, worker, float *arena, long sample, int group, double *seconds);
    const void *const *constants;
    float *arena;
    size_t arena_floats;
    int most;
    const float *const *inputs;
    float *const *outputs;
    long samples;
    double *seconds;
    int *fault; /* a step that was given what it cannot take, counted from 1; 0 where all is well */
};

INLINE void barrier(worker w);

/* Samples go in as few groups as there can be, of sizes as equal as can be, whatever the number of workers. */
static void run_groups(const request *r, worker w, float *arena, long group, long end, long groups, double *seconds) {
    for (; group < end; group++) {
        long from = r->samples * group / groups, to = r->samples * (group + 1) / groups;
        r->work(r, w, arena, from, (int)(to - from), seconds);
    }
}

/* As many groups as there are workers are shared out, each on an arena of its own; the rest is worked on together. */
static void run_samples(const request *r, worker w) {
    long groups = (r->samples + r->most - 1) / r->most, each = groups / w.count, first = each * w.index;
    float *own = r->arena + (size_t)w.index * r->arena_floats;
    double *seconds = w.index == 0 ? r->seconds : 0;
    run_groups(r, ALONE, own, first, first + each, groups, seconds);
    if (each * w.count == groups) return;
    barrier(w); /* the first worker's arena becomes the team's */
    run_groups(r, w, r->arena, each * w.count, groups, groups, seconds);
}

#ifdef SPOKESHAVE_SINGLE_THREADED
INLINE void barrier(worker w) { (void)w; }
static void run_request(const request *r, int threads) {
    (void)threads;
    run_samples(r, ALONE);
}
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define SPINS 4000 /* about 50 us of waiting for work: longer than the gap between the calls of a loop */
#define BARRIER_SPINS 500 /* after these a worker is late because another process has its core */

INLINE void relax(int spins) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
    if (spins > BARRIER_SPINS) sched_yield();
}

static struct {
    _Alignas(128) atomic_uint turn; /* serial number of the request, times 2 * MOST_WORKERS, plus its team's size; 0: stop */
    _Alignas(128) atomic_int arrived;
    _Alignas(128) atomic_uint passed; /* barriers that the team has passed */
    _Alignas(128) atomic_int sleepers;
    atomic_flag busy;
    const request *request;
    int started, watches_forks;
    pthread_t threads[MOST_WORKERS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
} pool = {.turn = 2 * MOST_WORKERS, .busy = ATOMIC_FLAG_INIT, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void meet(worker w) {
    unsigned passed = atomic_load_explicit(&pool.passed, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool.arrived, 1, memory_order_acq_rel) == w.count - 1) {
        atomic_store_explicit(&pool.arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool.passed, passed + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&pool.passed, memory_order_acquire) == passed; spins += spins <= BARRIER_SPINS) relax(spins);
}
INLINE void barrier(worker w) {
    if (w.count > 1) meet(w);
}

static unsigned next_turn(unsigned last) {
    for (int spins = 0; spins < SPINS; spins++) {
        unsigned turn = atomic_load_explicit(&pool.turn, memory_order_acquire);
        if (turn != last) return turn;
        relax(0);
    }
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.sleepers, 1);
    while (atomic_load(&pool.turn) == last) pthread_cond_wait(&pool.wake, &pool.lock);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.lock);
    return atomic_load_explicit(&pool.turn, memory_order_acquire);
}

static void set_turn(unsigned turn) {
    atomic_store(&pool.turn, turn);
    if (atomic_load(&pool.sleepers) == 0) return;
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

typedef struct {
    int index;
    unsigned turn;
} birth;

static void *serve(void *argument) {
    birth born = *(birth *)argument;
    unsigned turn = born.turn;
    meet((worker){1, 2}); /* from here on the birth record may go */
    while ((turn = next_turn(turn)) != 0) {
        worker w = {born.index, (int)(turn % (2 * MOST_WORKERS))};
        if (w.index >= w.count) continue;
        run_samples(pool.request, w);
        meet(w);
    }
    return 0;
}

static void forget_pool(void) {
    pool.started = 0;
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.arrived, 0);
    atomic_flag_clear(&pool.busy);
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.wake = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}

/* Start workers until there are `count`, the caller included; returns how many there are. */
static int grow_pool(int count) {
    if (pool.started + 1 >= count) return count;
    if (!pool.watches_forks) pool.watches_forks = pthread_atfork(0, 0, forget_pool) == 0;
    sigset_t all, before; /* signals are the application's: workers take none */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.started + 1 < count) {
        birth born = {pool.started + 1, atomic_load(&pool.turn)};
        if (pthread_create(&pool.threads[pool.started], 0, serve, &born)) break;
        meet((worker){0, 2});
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
    return pool.started + 1;
}

static void run_request(const request *r, int threads) {
    if (threads <= 1 || r->samples < 1 || atomic_flag_test_and_set_explicit(&pool.busy, memory_order_acquire)) {
        run_samples(r, ALONE);
        return;
    }
    worker w = {0, grow_pool(threads < MOST_WORKERS ? threads : MOST_WORKERS)};
    if (w.count == 1) {
        run_samples(r, w);
    } else {
        pool.request = r;
        unsigned serial = atomic_load(&pool.turn) / (2 * MOST_WORKERS) + 1;
        if (serial > UINT32_MAX / (2 * MOST_WORKERS)) serial = 1;
        set_turn(serial * 2 * MOST_WORKERS + (unsigned)w.count);
        run_samples(r, w);
        meet(w);
    }
    atomic_flag_clear_explicit(&pool.busy, memory_order_release);
}

__attribute__((destructor)) static void stop_pool(void) {
    if (atomic_flag_test_and_set(&pool.busy)) return; /* the process ends while another thread computes */
    set_turn(0);
    for (int i = 0; i < pool.started; i++) pthread_join(pool.threads[i], 0);
    pool.started = 0;
}
#endif
