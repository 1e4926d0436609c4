// See fault.h.
#include "record/fault.h"

struct pl_fault **pl_fault_add(struct pl_arena *arena, struct pl_fault **last, const char *pointer,
                               const char *detail)
{
	struct pl_fault *fault = pl_arena_alloc(arena, sizeof(*fault));

	while (*last)
		last = &(*last)->next;
	fault->pointer = pointer;
	fault->detail = detail;
	*last = fault;
	return &fault->next;
}

void pl_fault_pointer_add(struct pl_buf *pointer, const char *name)
{
	pl_buf_addc(pointer, '/');
	for (; *name; name++) {
		if (*name == '~' || *name == '/')
			pl_buf_adds(pointer, *name == '~' ? "~0" : "~1");
		else
			pl_buf_addc(pointer, *name);
	}
}

const char *pl_fault_pointer(struct pl_arena *arena, const char *name)
{
	struct pl_buf buf = { 0 };
	const char *pointer;

	pl_fault_pointer_add(&buf, name);
	pointer = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return pointer;
}
