/* One call of a kernel, and what its results must be. */
typedef struct {
    const char *name;
    void (*call)(void **operands, const double *fields);
    void **operands;
    const double *fields;
    int results;
    const void *const *found, *const *expected;
    const unsigned *sizes;
} test_case;

extern const test_case cases[];
extern const int case_count;
