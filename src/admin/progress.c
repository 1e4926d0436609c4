// Progress of a long command on standard error: a redrawn line on a terminal, otherwise
// an occasional line.
// Threads: the tool has one.
#include "admin/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "admin/format.h"
#include "admin/messages.h"
#include "base/clock.h"

#define TERMINAL_EVERY_US 100000

#define LINES_EVERY_US    2000000

static int columns_of_terminal(void)
{
	struct winsize size = { 0 };
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return 80;
}

void pl_progress_line(const struct pl_progress *progress, int64_t elapsed_us, int columns, char *text,
                      int size)
{
	char done[PL_COUNT_MAX], total[PL_COUNT_MAX], rate[PL_COUNT_MAX], left[PL_AGE_MAX] = "", tail[128],
									  bar[64];
	int64_t new = progress->done - progress->began_done;
	double per_us = elapsed_us > 0 ? (double)new / (double)elapsed_us : 0;
	int percent = progress->total > 0 ? (int)(progress->done * 100 / progress->total) : 100;
	if (per_us > 0)
		pl_format_age((int64_t)((double)(progress->total - progress->done) / per_us), left);
	int at = snprintf(tail, sizeof(tail), " %3d%%  %s of %s", percent,
	                  pl_format_count(progress->done, done), pl_format_count(progress->total, total));
	if (new > 0)
		at += snprintf(tail + at, sizeof(tail) - (size_t)at, "  %s/s",
		               pl_format_count((int64_t)(per_us * 1e6), rate));
	if (*left && progress->done < progress->total)
		snprintf(tail + at, sizeof(tail) - (size_t)at, "  still %s", left);
	int room = columns - (int)strlen(progress->what) - (int)strlen(tail) - 5;
	int width = room > 40 ? 40 : room;
	if (width < 5) {
		snprintf(text, (size_t)size, "%s%s", progress->what, tail);
		return;
	}
	for (int i = 0; i < width; i++)
		bar[i] = i < width * percent / 100 ? '#' : '.';
	bar[width] = '\0';
	snprintf(text, (size_t)size, "%s [%s]%s", progress->what, bar, tail);
}

static void show(struct pl_progress *progress, int64_t now)
{
	char text[256];
	bool terminal = pl_messages_terminal();
	pl_progress_line(progress, now - progress->began_us, terminal ? columns_of_terminal() : 0, text,
	                 sizeof(text));
	fprintf(stderr, terminal ? "\r%s\033[K" : "%s\n", text);
	fflush(stderr);
	progress->shown_us = now;
	progress->drawn = true;
}

void pl_progress_begin(struct pl_progress *progress, const char *what, int64_t total, int64_t already)
{
	int64_t now = pl_mono_us();
	*progress = (struct pl_progress){ what, total, already, already, now, now, false };
	if (pl_messages_terminal())
		show(progress, now);
}

void pl_progress_set(struct pl_progress *progress, int64_t done)
{
	int64_t now = pl_mono_us();
	progress->done = done;
	if (now - progress->shown_us >= (pl_messages_terminal() ? TERMINAL_EVERY_US : LINES_EVERY_US))
		show(progress, now);
}

void pl_progress_end(struct pl_progress *progress)
{
	show(progress, pl_mono_us());
	if (pl_messages_terminal())
		fputc('\n', stderr);
}
