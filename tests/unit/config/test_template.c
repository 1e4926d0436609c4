// Templates: values, loops, conditions, scopes, and errors.
#include "config/template.h"

#include "fixture.h"

#include <string.h>

static const char context_text[] = "{\"a\":\"A\",\"yes\":true,\"no\":false,\"list\":[{\"x\":\"1\",\"in\":[{"
				   "\"y\":\"u\"},{\"y\":\"v\"}]},{\"x\":\"2\",\"a\":\"own\",\"in\":[]}],"
				   "\"none\":[]}";

static void renders(const char *text, const char *expected)
{
	cJSON *context = cJSON_Parse(context_text);
	struct pl_buf buf = { 0 };
	struct pl_error err = { 0 };

	if (pl_template_render(&buf, text, context, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(buf.data != NULL ? buf.data : "", expected);
	pl_buf_fini(&buf);
	cJSON_Delete(context);
}

static void refuses(const char *text, const char *sentence)
{
	cJSON *context = cJSON_Parse(context_text);
	struct pl_buf buf = { 0 };
	struct pl_error err = { 0 };

	assert_int_equal(pl_template_render(&buf, text, context, &err), PL_EINVAL);
	assert_string_equal(err.text, sentence);
	pl_buf_fini(&buf);
	cJSON_Delete(context);
}

static void values_are_inserted(void **state)
{
	renders("x {{a}} y {{a}}{{a}}\n{ } $z\n", "x A y AA\n{ } $z\n");
	renders("no newline at the end {{a}}", "no newline at the end A");
	renders("", "");
}

static void loops_go_through_lists(void **state)
{
	renders("<\n#@for list\n{{x}} {{a}}\n#@end\n>\n", "<\n1 A\n2 own\n>\n");
	renders("#@for none\nnever\n#@end\n", "");
	renders("#@for list\n#@for in\n{{x}}{{y}}{{a}}\n#@end\n#@end\n", "1uA\n1vA\n");
}

static void conditions(void **state)
{
	renders("#@if yes\n1\n#@end\n#@if no\n2\n#@end\n#@if absent\n3\n#@end\n", "1\n");
	renders("#@if yes\n1\n#@else\n2\n#@end\n#@if no\n3\n#@else\n4\n#@end\n", "1\n4\n");
	renders("#@if absent\n#@if yes\n1\n#@else\n2\n#@end\n#@else\n3\n#@end\n", "3\n");
	renders("#@if no\n#@for list\n{{nothing}}\n#@end\n#@end\nafter\n", "after\n");
}

static void errors_in_a_template_are_reported(void **state)
{
	refuses("{{b}}\n", "template: there is no value \"b\"");
	refuses("{{yes}}\n", "template: there is no value \"yes\"");
	refuses("{{a\n", "template: \"{{\" without \"}}\"");
	refuses("#@for b\n#@end\n", "template: there is no list \"b\"");
	refuses("#@for list\n", "template: a block without its end: #@for list");
	refuses("#@end\n", "template: out of place: #@end");
	refuses("#@fort list\n", "template: out of place: #@fort list");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_inserted),
		cmocka_unit_test(loops_go_through_lists),
		cmocka_unit_test(conditions),
		cmocka_unit_test(errors_in_a_template_are_reported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
