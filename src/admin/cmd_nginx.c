// plist-admin nginx: the configuration of NGINX that belongs to the YAML; or whether a file is that.
#include "admin/commands.h"

#include <stdio.h>

#include "admin/diff.h"
#include "admin/file.h"
#include "admin/talk.h"
#include "config/nginx.h"

#define FILE_MAX (4u << 20)

static int diff(const char *file, const struct pl_buf *wanted)
{
	struct pl_buf there = { 0 }, out = { 0 };
	struct pl_error err;
	int answer = PL_EXIT_USAGE;
	if (pl_file_read(file, FILE_MAX, &there, &err)) {
		pl_fail("%s", err.text);
	} else {
		answer = pl_diff(&out, file, there.data, "as the configuration wants it", wanted->data) ? PL_EXIT_NO : PL_EXIT_YES;
		fputs(out.data ? out.data : "", stdout);
	}
	pl_buf_fini(&there);
	pl_buf_fini(&out);
	return answer;
}

static int nginx(struct pl_call *call)
{
	struct pl_buf text = { 0 };
	struct pl_error err;
	const char *file = pl_call_text(call, "diff", NULL);
	int rc = pl_call_config(call);
	if (rc)
		return rc;
	if (pl_nginx_render(call->config, &text, pl_call_has(call, "check-variant"), &err)) {
		pl_fail("%s", err.text);
		rc = PL_EXIT_USAGE;
	} else if (file) {
		rc = diff(file, &text);
	} else {
		fwrite(text.data, 1, text.len, stdout);
	}
	pl_buf_fini(&text);
	return rc;
}

const struct pl_command pl_cmd_nginx = {
	.noun = "nginx",
	.summary = "the configuration of NGINX that belongs to this one",
	.help = "Prints a whole nginx.conf for the regions and rules of the configuration. Its paths are relative: run it with "
	        "nginx -p DIRECTORY -c FILE.\n\n"
	        "With --diff it prints instead what differs between FILE and what it should be: exit 0 when nothing does, 1 when something does.",
	.options = (const struct pl_option[]){
		{ "diff", 'd', PL_OPTION_FILE, "FILE", "compare FILE with it" },
		{ "check-variant", 0, PL_OPTION_SWITCH, NULL, "host names as addresses, so that nginx -t passes where they do not resolve" },
		{ NULL },
	},
	.run = nginx,
};
