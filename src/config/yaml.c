// Reading YAML: libyaml's events into a tree, with the caps and refusals that libyaml does not have.
//
// Stands between the file and config/load.c. libyaml itself passes duplicate keys, expands aliases and takes seconds for deep nesting: so
// aliases, anchors and tags are refused, and depth is counted as the events come.
// Threads: any; a call has no state beyond its arguments.
#include "config/yaml.h"

#include <string.h>
#include <yaml.h>

struct reader {
	yaml_parser_t yaml;
	const char *file;
	struct pl_arena *arena;
	struct pl_problems *problems;
	int nodes;
};

static void fault(struct reader *r, yaml_mark_t mark, const char *what)
{
	pl_problems_add(r->problems, false, r->file, (int)mark.line + 1, (int)mark.column + 1, "%s", what);
}

// The next event; -1 after adding what libyaml found.
static int next(struct reader *r, yaml_event_t *event)
{
	if (yaml_parser_parse(&r->yaml, event))
		return 0;
	yaml_mark_t mark = r->yaml.error == YAML_READER_ERROR ? r->yaml.mark : r->yaml.problem_mark;
	const char *problem = r->yaml.problem != NULL ? r->yaml.problem : "out of memory";
	if (r->yaml.context != NULL)
		pl_problems_add(r->problems, false, r->file, (int)mark.line + 1, (int)mark.column + 1, "not YAML: %s (%s)", problem, r->yaml.context);
	else
		pl_problems_add(r->problems, false, r->file, (int)mark.line + 1, (int)mark.column + 1, "not YAML: %s", problem);
	return -1;
}

static struct pl_node *node_new(struct reader *r, enum pl_node_kind kind, const yaml_event_t *event)
{
	struct pl_node *node = pl_arena_alloc(r->arena, sizeof(*node));

	node->kind = kind;
	node->line = (int)event->start_mark.line + 1;
	node->column = (int)event->start_mark.column + 1;
	return node;
}

static void append(struct pl_node *parent, struct pl_node *node)
{
	if (parent->last != NULL)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	parent->n++;
}

static void refuse_extras(struct reader *r, const yaml_event_t *event, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor != NULL)
		fault(r, event->start_mark, "anchors (&name) are not taken: write the value where it is meant");
	if (tag != NULL)
		fault(r, event->start_mark, "tags (!name) are not taken");
}

static struct pl_node *scalar(struct reader *r, const yaml_event_t *event)
{
	struct pl_node *node = node_new(r, PL_NODE_SCALAR, event);
	const char *text = (const char *)event->data.scalar.value;

	refuse_extras(r, event, event->data.scalar.anchor, event->data.scalar.tag);
	if (memchr(text, '\0', event->data.scalar.length) != NULL)
		fault(r, event->start_mark, "a value must not contain a NUL");
	node->text = pl_arena_strdup(r->arena, text);
	node->null = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	             (*text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
	return node;
}

static struct pl_node *value(struct reader *r, yaml_event_t *event, int depth);

// A member: `event` is its key, consumed here. 0, or -1 when reading cannot go on.
static int member(struct reader *r, struct pl_node *map, yaml_event_t *event, int depth)
{
	yaml_mark_t mark = event->start_mark;
	bool good = event->type == YAML_SCALAR_EVENT;
	struct pl_node *key = value(r, event, depth);
	yaml_event_t after;

	if (key == NULL || next(r, &after) < 0)
		return -1;
	struct pl_node *node = value(r, &after, depth);
	if (node == NULL)
		return -1;
	if (!good) {
		fault(r, mark, "a key must be a word");
		return 0;
	}
	struct pl_node *first = pl_node_member(map, key->text);
	if (first != NULL) {
		pl_problems_add(r->problems, false, r->file, key->line, key->column, "%.64s: given twice; the first one is in line %d", key->text,
		                first->key_line);
		return 0;
	}
	node->key = key->text;
	node->key_line = key->line;
	node->key_column = key->column;
	append(map, node);
	return 0;
}

// The members or elements after a start event, up to its end event.
static int inside(struct reader *r, struct pl_node *parent, int depth)
{
	for (;;) {
		yaml_event_t event;
		if (next(r, &event) < 0)
			return -1;
		if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		if (parent->kind == PL_NODE_MAP) {
			if (member(r, parent, &event, depth) < 0)
				return -1;
			continue;
		}
		struct pl_node *node = value(r, &event, depth);
		if (node == NULL)
			return -1;
		append(parent, node);
	}
}

// The value that begins with `event`, which is freed here. NULL when reading cannot go on.
static struct pl_node *value(struct reader *r, yaml_event_t *event, int depth)
{
	struct pl_node *node = NULL;
	yaml_mark_t mark = event->start_mark;

	switch (event->type) {
	case YAML_SCALAR_EVENT:
		node = scalar(r, event);
		break;
	case YAML_MAPPING_START_EVENT:
		refuse_extras(r, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
		node = node_new(r, PL_NODE_MAP, event);
		break;
	case YAML_SEQUENCE_START_EVENT:
		refuse_extras(r, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
		node = node_new(r, PL_NODE_LIST, event);
		break;
	default: // an alias; its anchor was refused, too
		fault(r, mark, "aliases (*name) are not taken: write the value where it is meant");
		node = node_new(r, PL_NODE_SCALAR, event);
		node->text = "";
		break;
	}
	yaml_event_delete(event);
	if (++r->nodes > PL_YAML_NODES_MAX) {
		fault(r, mark, "too many values for a configuration");
		return NULL;
	}
	if (node->kind == PL_NODE_SCALAR)
		return node;
	if (depth >= PL_YAML_DEPTH_MAX) {
		fault(r, mark, "nested too deeply");
		return NULL;
	}
	return inside(r, node, depth + 1) < 0 ? NULL : node;
}

// The one document: what stands between the start of the stream and its end.
static struct pl_node *document(struct reader *r)
{
	struct pl_node *root = NULL;
	yaml_event_t event;

	for (;;) {
		if (next(r, &event) < 0)
			return NULL;
		yaml_event_type_t type = event.type;
		yaml_mark_t mark = event.start_mark;
		if (type == YAML_SCALAR_EVENT || type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT) {
			root = value(r, &event, 0);
			if (root == NULL)
				return NULL;
			continue;
		}
		yaml_event_delete(&event);
		if (type == YAML_DOCUMENT_START_EVENT && root != NULL) {
			fault(r, mark, "a second document: a configuration is one");
			return root;
		}
		if (type == YAML_STREAM_END_EVENT)
			break;
	}
	if (root == NULL || root->null) {
		root = pl_arena_alloc(r->arena, sizeof(*root));
		root->kind = PL_NODE_MAP;
		root->line = root->column = 1;
	}
	return root;
}

struct pl_node *pl_yaml_parse(struct pl_arena *arena, const char *file, const char *text, size_t len, struct pl_problems *problems)
{
	struct reader r = { .file = file, .arena = arena, .problems = problems };

	if (len > PL_YAML_BYTES_MAX) {
		pl_problems_add(problems, false, file, 1, 1, "larger than %zu bytes", PL_YAML_BYTES_MAX);
		return NULL;
	}
	if (!yaml_parser_initialize(&r.yaml)) {
		pl_problems_add(problems, false, file, 1, 1, "libyaml could not begin");
		return NULL;
	}
	yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text, len);
	struct pl_node *root = document(&r);
	yaml_parser_delete(&r.yaml);
	return root;
}

struct pl_node *pl_node_member(const struct pl_node *map, const char *key)
{
	if (map == NULL || map->kind != PL_NODE_MAP)
		return NULL;
	for (struct pl_node *node = map->first; node != NULL; node = node->next)
		if (strcmp(node->key, key) == 0)
			return node;
	return NULL;
}

const char *pl_node_kind_name(const struct pl_node *node)
{
	if (node->kind == PL_NODE_MAP)
		return "a map";
	if (node->kind == PL_NODE_LIST)
		return "a list";
	return node->null ? "nothing" : "a value";
}
