// Runs one command, or prints help. Threads: the tool has one.
#include "admin/command.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "admin/messages.h"
#include "admin/watch.h"
#include "base/buf.h"
#include "base/core_dump.h"
#include "base/log.h"

static int print_help(struct pl_buf *text)
{
	fputs(text->data, stdout);
	pl_buf_fini(text);
	return PL_EXIT_YES;
}

static int answer_help(const struct pl_invocation *invocation)
{
	struct pl_buf text = { 0 };
	if (invocation->command)
		pl_help_command(&text, invocation->command);
	else if (invocation->noun)
		pl_help_noun(&text, invocation->noun);
	else
		pl_help_general(&text);
	return print_help(&text);
}

// Data that could not be written is a failure: a full disk under `> file` is detected
// here.
static int finish_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	pl_fail("cannot write to standard output");
	return status == PL_EXIT_YES ? PL_EXIT_NO : status;
}

int pl_admin_main(int argc, char **argv)
{
	struct pl_invocation invocation;
	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT); // the tool reports errors of the lower layers itself
	pl_core_dump_prevent();
	setlocale(LC_CTYPE, ""); // for the width of non-ASCII characters; numbers are not affected
	int rc = pl_invocation_parse(&invocation, argc, argv);
	pl_admin_watch_start();
	if (rc == 0)
		rc = invocation.wants_help ? answer_help(&invocation) : invocation.command->run(&invocation);
	pl_invocation_fini(&invocation);
	return finish_output(rc);
}
