// Parses Prometheus text. Threads: any; no state.
#include "admin/metrics_text.h"

#include <string.h>

const char *pl_metrics_text_find(const char *text, const char *name, const char **next_r)
{
	size_t len = strlen(name);
	while (text && *text) {
		const char *end = strchr(text, '\n');
		*next_r = end ? end + 1 : text + strlen(text);
		if (strncmp(text, name, len) == 0 && (text[len] == '{' || text[len] == ' '))
			return text;
		text = *next_r;
	}
	return NULL;
}

// Skips a label's value, starting after its opening quote, and copies it to `value`.
static const char *read_value(const char *p, char *value, size_t size)
{
	size_t n = 0;
	for (; *p && *p != '"' && *p != '\n'; p++) {
		char c = *p;
		if (c == '\\' && p[1] && p[1] != '\n')
			c = *++p == 'n' ? '\n' : *p;
		if (n + 1 < size)
			value[n++] = c;
	}
	if (size)
		value[n] = '\0';
	return *p == '"' ? p + 1 : p;
}

bool pl_metrics_text_label(const char *line, const char *label, char *value, size_t size)
{
	const char *p = line + strcspn(line, "{ \n");
	size_t len = strlen(label);
	if (*p++ != '{')
		return false;
	while (*p && *p != '}' && *p != '\n') {
		size_t name = strcspn(p, "=\n");
		if (p[name] != '=' || p[name + 1] != '"')
			return false;
		bool wanted = name == len && memcmp(p, label, len) == 0;
		p = read_value(p + name + 2, value, wanted ? size : 0);
		if (wanted)
			return true;
		p += *p == ',';
	}
	return false;
}
