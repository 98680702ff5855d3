/* Between two nodes: a time stamp on the chip; on the host a callback, and where a run may begin and end. */
#ifndef MG_MARK_H
#define MG_MARK_H

#include <limits.h>
#include <stdint.h>

#ifdef MG_HOST

/* Only nodes mg_first <= i < mg_last run; the library's user may set both. */
__attribute__((weak)) int mg_first = 0, mg_last = INT_MAX;

#define mg_node(i) if (mg_first <= (i) && (i) < mg_last)

/* Called after node `i` has run; the library's user may set it. */
__attribute__((weak)) void (*mg_on_node)(int);

/* Called before a step of a stream; the library's user may set it. */
__attribute__((weak)) void (*mg_on_step)(int stream, int step);

static inline void mg_feed_begin(void) {}
static inline void mg_feed_start(void) {}
static inline void mg_feed_end(void) {}
static inline void mg_mark_start(void) {}

static inline void mg_step_mark(int stream, int step) {
    if (mg_on_step)
        mg_on_step(stream, step);
}

static inline void mg_mark(int i) {
    if (mg_on_node && mg_first <= i && i < mg_last)
        mg_on_node(i);
}

#else

#define mg_node(i)
#define mg_step_mark(stream, step)

/* A new sample; around what runs on a piece of it; before node 0; after node i. Each but the first reads the
 * cycle counter once. */
void mg_feed_begin(void);
void mg_feed_start(void);
void mg_feed_end(void);
void mg_mark_start(void);
void mg_mark(int i);

#endif
#endif
