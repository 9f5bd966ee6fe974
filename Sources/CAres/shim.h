#include <ares.h>
#include <sys/eventfd.h>

/// Have answers forgotten once they are given: from 1.31 on c-ares keeps them, so that names that users asked for stay in
/// memory, as many as they like. Returns the option's bit for ares_init_options, or 0 where nothing is kept.
static inline int thor_ares_forget_answers(struct ares_options *options) {
#ifdef ARES_OPT_QUERY_CACHE
    options->qcache_max_ttl = 0;
    return ARES_OPT_QUERY_CACHE;
#else
    (void)options;
    return 0;
#endif
}
