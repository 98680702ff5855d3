/* What a firmware function returns: zero, or the negated error code of the link's schema. */
#ifndef MG_STATUS_H
#define MG_STATUS_H

typedef int mg_status;

enum { MG_OK = 0 };

#endif
