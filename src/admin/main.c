// From a command line to an exit status: help, or one command. Threads: the tool has one.
#include "admin/command.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "admin/talk.h"
#include "base/buf.h"
#include "base/log.h"

static int print_help(struct pl_buf *text)
{
	fputs(text->data, stdout);
	pl_buf_fini(text);
	return PL_EXIT_YES;
}

// plist-admin help [NOUN [VERB]]
static int help(int nwords, char **words)
{
	struct pl_buf text = { 0 };
	if (nwords == 0 || words[0][0] == '-') {
		pl_help_general(&text);
		return print_help(&text);
	}
	// What names a command here is found, and refused, as it is on a command line.
	char option[] = "--help", program[] = "plist-admin";
	char *argv[] = { program, words[0], nwords > 1 ? words[1] : option, option, NULL };
	struct pl_call call;
	int rc = pl_call_parse(&call, 4, argv);
	if (rc == 0 && call.command)
		pl_help_command(&text, call.command);
	else if (rc == 0)
		pl_help_noun(&text, words[0]);
	pl_call_fini(&call);
	return rc ? rc : print_help(&text);
}

static int answer_help(const struct pl_call *call)
{
	struct pl_buf text = { 0 };
	if (call->command)
		pl_help_command(&text, call->command);
	else if (call->noun)
		pl_help_noun(&text, call->noun);
	else
		pl_help_general(&text);
	return print_help(&text);
}

// Data that did not reach its reader is no success: a full disk under `> file` is found here.
static int finish_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	pl_fail("standard output: the data could not be written");
	return status == PL_EXIT_YES ? PL_EXIT_NO : status;
}

int pl_admin_main(int argc, char **argv)
{
	static char version[] = "version";
	struct pl_call call;
	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT); // what the rooms below would log, the tool says itself
	setlocale(LC_CTYPE, ""); // for the width of what is not ASCII; numbers stay as they are
	if (argc > 1 && strcmp(argv[1], "help") == 0)
		return finish_output(help(argc - 2, argv + 2));
	if (argc > 1 && strcmp(argv[1], "--version") == 0)
		argv[1] = version;
	int rc = pl_call_parse(&call, argc, argv);
	if (rc == 0)
		rc = call.wants_help ? answer_help(&call) : call.command->run(&call);
	pl_call_fini(&call);
	return finish_output(rc);
}
