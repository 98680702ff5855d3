/* One call of a kernel, and what its results must be; everything const, so that it stays in flash. */
#include <stdint.h>

typedef struct {
    const char *name;
    void (*call)(void **operands, const double *fields);
    const void *const *operands; /* each `skip` bytes into its array of `length` bytes, none if 0 */
    const double *fields;
    int results;
    const void *const *found, *const *expected; /* found[i] is one of the operands */
    const unsigned *sizes, *lengths, *skips;
} test_case;

enum { END = -1 }; /* a length: no more operands */

extern const test_case cases[];
extern const int case_count;
extern uint8_t test_pool[];
