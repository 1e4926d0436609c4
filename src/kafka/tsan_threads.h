// Under ThreadSanitizer only: makes it see the threads of librdkafka. See tsan.c.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define PL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PL_TSAN 1
#endif
#endif

#ifdef PL_TSAN
void pl_tsan_sees_threads(void); // to be called by whoever uses librdkafka, so that the linker takes these functions
#else
#define pl_tsan_sees_threads() ((void)0)
#endif
