// plist-admin nginx: generates the NGINX configuration, or checks that a file matches
// the generated one.
#include "admin/commands.h"

#include <stdio.h>

#include "admin/messages.h"
#include "base/file.h"
#include "config/nginx.h"

#define FILE_MAX (4u << 20)

// The number of the first line that differs, from 1; 0 if the texts are equal.
static int first_difference(const char *a, const char *b)
{
	int line = 1;
	for (; *a == *b; a++, b++) {
		if (*a == '\0')
			return 0;
		line += *a == '\n';
	}
	return line;
}

static int check(const char *file, const struct pl_buf *wanted)
{
	struct pl_buf there = { 0 };
	struct pl_error err;
	if (pl_file_read(file, FILE_MAX, &there, &err)) {
		pl_fail("%s: %s", file, err.text);
		return PL_EXIT_USAGE;
	}
	int line = first_difference(there.data, wanted->data);
	pl_buf_fini(&there);
	if (line == 0)
		return PL_EXIT_YES;
	pl_warn("%s: differs from the generated configuration, first in line %d; to see how, pipe the output "
	        "of 'plist-admin nginx' with the same options into 'diff %s -'",
	        file, line, file);
	return PL_EXIT_NO;
}

static int read_options(struct pl_invocation *invocation, struct pl_nginx_options *options_r)
{
	bool site = pl_invocation_has(invocation, "site"), system = pl_invocation_has(invocation, "system");
	*options_r = (struct pl_nginx_options){
		.place = site     ? PL_NGINX_SITE
		         : system ? PL_NGINX_SYSTEM
		                  : PL_NGINX_RELATIVE,
		.check_variant = pl_invocation_has(invocation, "check-variant"),
	};
	if (site && system) {
		pl_fail("--site and --system cannot be combined: the file is either a site or the whole "
		        "configuration");
		return PL_EXIT_USAGE;
	}
	return 0;
}

static int nginx(struct pl_invocation *invocation)
{
	struct pl_nginx_options options;
	struct pl_buf text = { 0 };
	struct pl_error err;
	const char *file = pl_invocation_text(invocation, "check", NULL);
	int rc = read_options(invocation, &options);
	if (rc == 0)
		rc = pl_invocation_config(invocation);
	if (rc)
		return rc;
	if (pl_nginx_render(invocation->config, &text, &options, &err)) {
		pl_fail("%s", err.text);
		rc = PL_EXIT_USAGE;
	} else if (file) {
		rc = check(file, &text);
	} else {
		fwrite(text.data, 1, text.len, stdout);
	}
	pl_buf_fini(&text);
	return rc;
}

static const struct pl_option nginx_options[] = {
	{ "check", 0, PL_OPTION_FILE, "FILE",
	  "check that FILE is the generated configuration; print nothing" },
	{ "site", 0, PL_OPTION_SWITCH, NULL,
	  "generate a site, to be included in the http block of another nginx.conf" },
	{ "system", 0, PL_OPTION_SWITCH, NULL,
	  "generate the whole nginx.conf of the system's NGINX, with the paths of the Debian package" },
	{ "check-variant", 0, PL_OPTION_SWITCH, NULL,
	  "replace host names by addresses, so that nginx -t passes where they do not resolve" },
	{ NULL },
};

const struct pl_command pl_cmd_nginx = {
	.noun = "nginx",
	.summary = "generate the NGINX configuration",
	.help = "Prints an NGINX configuration for the regions and rules of the YAML file. Comments in it "
		"give the reason for each rule.\n\n"
		"Without --site and --system, it is a complete nginx.conf with relative paths: run it with "
		"nginx -p DIRECTORY/ -c FILE. With --site, it is a file for the conf.d or sites-enabled of "
		"an existing NGINX configuration, such as Debian's. With --system, it is the complete "
		"nginx.conf of the Debian package.\n\n"
		"With --check, it prints nothing and compares FILE with the generated configuration. Exit "
		"status 0: they are equal; 1: they differ.",
	.options = nginx_options,
	.run = nginx,
};
