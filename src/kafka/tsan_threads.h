// ThreadSanitizer only: makes librdkafka's threads visible to it. See tsan_threads.c.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define PL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PL_TSAN 1
#endif
#endif

#ifdef PL_TSAN
void pl_tsan_threads_link(
	// users of librdkafka call this, so that the linker includes these functions
	void);
#else
#define pl_tsan_threads_link() ((void)0)
#endif
