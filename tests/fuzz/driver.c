// Runs a fuzz target on the files of its corpus, as TAP: each file as a whole, then all
// its prefixes, then with some bytes changed.
//
// The corpus is tests/fuzz/corpus/NAME for a program called corpus_NAME. The changes
// are generated from a fixed seed, so every run is the same and failures can be
// repeated. Files can be given instead: corpus_json FILE…
// Threads: one.
#include <dirent.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "fuzz.h"

#define PREFIXES_MAX 400 // of one file
#define CHANGES      200

static const char *running = "nothing"; // for inspection in a core dump

// A copy that ends where the input ends, so that the sanitizer detects reading beyond
// it.
static void feed(const uint8_t *data, size_t size)
{
	uint8_t *copy = pl_malloc(size);
	if (size > 0)
		memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static uint32_t draw(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static void feed_changed(const struct pl_buf *file)
{
	static const uint8_t bytes[] = { 0x00, 0x01, 0x20, 0x7F, 0x80, 0xC3, 0xED, 0xFF, '\n', '"',
		                         '%',  '-',  '0',  '9',  ':',  '[',  '\\', ']',  '{',  '}' };
	uint32_t state = 1;
	uint8_t *copy = pl_malloc(file->len);
	for (int i = 0; i < CHANGES && file->len > 0; i++) {
		memcpy(copy, file->data, file->len);
		for (uint32_t n = draw(&state) % 3 + 1; n > 0; n--)
			copy[draw(&state) % file->len] = bytes[draw(&state) % sizeof(bytes)];
		feed(copy, file->len);
	}
	free(copy);
}

static int feed_file(const char *path)
{
	FILE *in = fopen(path, "rb");
	if (in == NULL)
		return -1;
	struct pl_buf file = { 0 };
	char part[4096];
	size_t n;
	while ((n = fread(part, 1, sizeof(part), in)) > 0)
		pl_buf_add(&file, part, n);
	fclose(in);
	running = path;
	feed((const uint8_t *)file.data, file.len);
	for (size_t len = 0; len < file.len && len < PREFIXES_MAX; len++)
		feed((const uint8_t *)file.data, len);
	feed_changed(&file);
	pl_buf_fini(&file);
	return 0;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int feed_corpus(const char *name)
{
	const char *top = getenv("PL_TOP_SRCDIR");
	struct pl_buf path = { 0 };
	struct dirent **entries;
	pl_buf_printf(&path, "%s/tests/fuzz/corpus/%s", top ? top : ".", name);
	int n = scandir(path.data, &entries, visible, alphasort), failed = 0;
	size_t folder = path.len;
	if (n <= 0) {
		printf("Bail out! no corpus in %s\n", path.data);
		return 1;
	}
	printf("1..%d\n", n);
	for (int i = 0; i < n; i++) {
		path.len = folder;
		pl_buf_printf(&path, "/%s", entries[i]->d_name);
		int code = feed_file(path.data);
		failed += code != 0;
		printf("%sok %d - %s/%s\n", code ? "not " : "", i + 1, name, entries[i]->d_name);
		fflush(stdout);
		free(entries[i]);
	}
	free(entries);
	pl_buf_fini(&path);
	return failed != 0;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	name = name ? name + 1 : argv[0];
	if (strncmp(name, "corpus_", 7) == 0)
		name += 7;
	if (argc < 2)
		return feed_corpus(name);
	for (int i = 1; i < argc; i++) {
		if (feed_file(argv[i]) != 0) {
			fprintf(stderr, "%s: cannot be read\n", argv[i]);
			return 1;
		}
	}
	return 0;
}
