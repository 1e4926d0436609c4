// Reads YAML: from the events of libyaml to a tree, with limits and refusals that libyaml
// does not have.
//
// libyaml accepts duplicate keys, expands aliases and takes seconds for deep nesting. So
// aliases, anchors and tags are refused, and depth is counted while parsing.
// Threads: any; calls share no state.
#include "config/yaml.h"

#include <string.h>
#include <yaml.h>

struct yaml_reader {
	yaml_parser_t yaml;
	const char *file;
	struct pl_arena *arena;
	struct pl_diagnostics *diagnostics;
	int nodes;
};

static void fault(struct yaml_reader *r, yaml_mark_t mark, const char *what)
{
	pl_diagnostics_add(r->diagnostics, false, r->file, (int)mark.line + 1, (int)mark.column + 1, "%s",
	                   what);
}

// The next event; -1 after reporting the error of libyaml.
static int next(struct yaml_reader *r, yaml_event_t *event)
{
	if (yaml_parser_parse(&r->yaml, event))
		return 0;
	yaml_mark_t mark = r->yaml.error == YAML_READER_ERROR ? r->yaml.mark : r->yaml.problem_mark;
	const char *problem = r->yaml.problem != NULL ? r->yaml.problem : "out of memory";
	if (r->yaml.context != NULL)
		pl_diagnostics_add(r->diagnostics, false, r->file, (int)mark.line + 1, (int)mark.column + 1,
		                   "not YAML: %s (%s)", problem, r->yaml.context);
	else
		pl_diagnostics_add(r->diagnostics, false, r->file, (int)mark.line + 1, (int)mark.column + 1,
		                   "not YAML: %s", problem);
	return -1;
}

static struct pl_yaml_node *node_new(struct yaml_reader *r, enum pl_yaml_kind kind, const yaml_event_t *event)
{
	struct pl_yaml_node *node = pl_arena_alloc(r->arena, sizeof(*node));

	node->kind = kind;
	node->line = (int)event->start_mark.line + 1;
	node->column = (int)event->start_mark.column + 1;
	return node;
}

static void append(struct pl_yaml_node *parent, struct pl_yaml_node *node)
{
	if (parent->last != NULL)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	parent->n++;
}

static void refuse_extras(struct yaml_reader *r, const yaml_event_t *event, const yaml_char_t *anchor,
                          const yaml_char_t *tag)
{
	if (anchor != NULL)
		fault(r, event->start_mark,
		      "anchors (&name) are not supported: write the value where it is used");
	if (tag != NULL)
		fault(r, event->start_mark, "tags (!name) are not supported");
}

static struct pl_yaml_node *scalar(struct yaml_reader *r, const yaml_event_t *event)
{
	struct pl_yaml_node *node = node_new(r, PL_YAML_SCALAR, event);
	const char *text = (const char *)event->data.scalar.value;

	refuse_extras(r, event, event->data.scalar.anchor, event->data.scalar.tag);
	if (memchr(text, '\0', event->data.scalar.length) != NULL)
		fault(r, event->start_mark, "a value must not contain a NUL");
	node->text = pl_arena_strdup(r->arena, text);
	node->null = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	             (*text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
	return node;
}

static struct pl_yaml_node *value(struct yaml_reader *r, yaml_event_t *event, int depth);

// A member: `event` is its key, and is consumed. Returns 0, or -1 if parsing cannot
// continue.
static int member(struct yaml_reader *r, struct pl_yaml_node *map, yaml_event_t *event, int depth)
{
	yaml_mark_t mark = event->start_mark;
	bool good = event->type == YAML_SCALAR_EVENT;
	struct pl_yaml_node *key = value(r, event, depth);
	yaml_event_t after;

	if (key == NULL || next(r, &after) < 0)
		return -1;
	struct pl_yaml_node *node = value(r, &after, depth);
	if (node == NULL)
		return -1;
	if (!good) {
		fault(r, mark, "a key must be a plain word");
		return 0;
	}
	struct pl_yaml_node *first = pl_yaml_member(map, key->text);
	if (first != NULL) {
		pl_diagnostics_add(r->diagnostics, false, r->file, key->line, key->column,
		                   "%.64s: given twice; the first one is in line %d", key->text,
		                   first->key_line);
		return 0;
	}
	node->key = key->text;
	node->key_line = key->line;
	node->key_column = key->column;
	append(map, node);
	return 0;
}

// The members or elements between a start event and its end event.
static int inside(struct yaml_reader *r, struct pl_yaml_node *parent, int depth)
{
	for (;;) {
		yaml_event_t event;
		if (next(r, &event) < 0)
			return -1;
		if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		if (parent->kind == PL_YAML_MAP) {
			if (member(r, parent, &event, depth) < 0)
				return -1;
			continue;
		}
		struct pl_yaml_node *node = value(r, &event, depth);
		if (node == NULL)
			return -1;
		append(parent, node);
	}
}

// The value that begins with `event`, which is freed. Returns NULL if parsing cannot
// continue.
static struct pl_yaml_node *value(struct yaml_reader *r, yaml_event_t *event, int depth)
{
	struct pl_yaml_node *node = NULL;
	yaml_mark_t mark = event->start_mark;

	switch (event->type) {
	case YAML_SCALAR_EVENT: node = scalar(r, event); break;
	case YAML_MAPPING_START_EVENT:
		refuse_extras(r, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
		node = node_new(r, PL_YAML_MAP, event);
		break;
	case YAML_SEQUENCE_START_EVENT:
		refuse_extras(r, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
		node = node_new(r, PL_YAML_LIST, event);
		break;
	default: // an alias; its anchor was refused, too
		fault(r, mark, "aliases (*name) are not supported: write the value where it is used");
		node = node_new(r, PL_YAML_SCALAR, event);
		node->text = "";
		break;
	}
	yaml_event_delete(event);
	if (++r->nodes > PL_YAML_NODES_MAX) {
		fault(r, mark, "too many values for a configuration");
		return NULL;
	}
	if (node->kind == PL_YAML_SCALAR)
		return node;
	if (depth >= PL_YAML_DEPTH_MAX) {
		fault(r, mark, "nested too deeply");
		return NULL;
	}
	return inside(r, node, depth + 1) < 0 ? NULL : node;
}

// The single document between the start and end of the stream.
static struct pl_yaml_node *document(struct yaml_reader *r)
{
	struct pl_yaml_node *root = NULL;
	yaml_event_t event;

	for (;;) {
		if (next(r, &event) < 0)
			return NULL;
		yaml_event_type_t type = event.type;
		yaml_mark_t mark = event.start_mark;
		if (type == YAML_SCALAR_EVENT || type == YAML_MAPPING_START_EVENT ||
		    type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT) {
			root = value(r, &event, 0);
			if (root == NULL)
				return NULL;
			continue;
		}
		yaml_event_delete(&event);
		if (type == YAML_DOCUMENT_START_EVENT && root != NULL) {
			fault(r, mark, "a configuration must be a single document");
			return root;
		}
		if (type == YAML_STREAM_END_EVENT)
			break;
	}
	if (root == NULL || root->null) {
		root = pl_arena_alloc(r->arena, sizeof(*root));
		root->kind = PL_YAML_MAP;
		root->line = root->column = 1;
	}
	return root;
}

struct pl_yaml_node *pl_yaml_parse(struct pl_arena *arena, const char *file, const char *text, size_t len,
                                   struct pl_diagnostics *diagnostics)
{
	struct yaml_reader r = { .file = file, .arena = arena, .diagnostics = diagnostics };

	if (len > PL_YAML_BYTES_MAX) {
		pl_diagnostics_add(diagnostics, false, file, 1, 1, "larger than %zu bytes",
		                   PL_YAML_BYTES_MAX);
		return NULL;
	}
	if (!yaml_parser_initialize(&r.yaml)) {
		pl_diagnostics_add(diagnostics, false, file, 1, 1, "libyaml could not be initialised");
		return NULL;
	}
	yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text, len);
	struct pl_yaml_node *root = document(&r);
	yaml_parser_delete(&r.yaml);
	return root;
}

struct pl_yaml_node *pl_yaml_member(const struct pl_yaml_node *map, const char *key)
{
	if (map == NULL || map->kind != PL_YAML_MAP)
		return NULL;
	for (struct pl_yaml_node *node = map->first; node != NULL; node = node->next)
		if (strcmp(node->key, key) == 0)
			return node;
	return NULL;
}

const char *pl_yaml_kind_name(const struct pl_yaml_node *node)
{
	if (node->kind == PL_YAML_MAP)
		return "a map";
	if (node->kind == PL_YAML_LIST)
		return "a list";
	return node->null ? "nothing" : "a value";
}
