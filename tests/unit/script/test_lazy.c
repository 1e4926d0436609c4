// Lazy tables: a record or a body behaves like an ordinary table, however a script uses
// it.
#include "talk.h"

#define BODY "{\"price\":500000.50,\"deep\":{\"list\":[1,null,\"x\"]},\"bedrooms\":3}"

// Checks the answer to the second of two requests, or to the only one (`kept` NULL).
static void run_twice(const char *text, const char *kept, const char *body, const char *expected)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/a.lua", text);
	if (kept) {
		ask(&t, &b, "handlers/a.lua", "7", kept);
		assert_int_equal(t.answer.status, 200);
		talk_end(&t);
	}
	ask(&t, &b, "handlers/a.lua", "7", body);
	if (t.answer.status != 200)
		fail_msg("%d: %s", t.answer.status, text);
	if (strcmp(t.answer.body.data, expected) != 0)
		fail_msg("%s\n  answers  %s\n  and not  %s", text, t.answer.body.data, expected);
	talk_end(&t);
	bench_close(&b);
}

static void run_on(const char *text, const char *body, const char *expected)
{
	run_twice(text, NULL, body, expected);
}

// `t` is a body or a record that is still lazy.
struct look {
	const char *script, *expected;
};

static void run_all(const char *begin, const char *body, const struct look *looks, size_t n)
{
	char text[4096];

	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text),
		         HEAD "return { name = 'h', doc = 'a test', handle = function(req) %s %s end }",
		         begin, looks[i].script);
		run_on(text, body, looks[i].expected);
	}
}

static void body_is_its_table_however_it_is_looked_at(void **state)
{
	static const struct look looks[] = {
		{ "return http.ok { t.price, t.deep.list[3], t.none == nil, type(t) }",
		  "[500000.50,\"x\",true,\"table\"]" },
		{ "local n = 0 for k, v in pairs(t) do n = n + 1 end return http.ok { n }", "[3]" },
		{ "local n = 0 for k, v in next, t do n = n + 1 end return http.ok { n }", "[3]" },
		{ "return http.ok { next(t) ~= nil, rawget(t, 'bedrooms'), rawlen(t), #t }", "[true,3,0,0]" },
		{ "t.bedrooms = 4 return http.ok(t)",
		  "{\"bedrooms\":4,\"deep\":{\"list\":[1,null,\"x\"]},\"price\":500000.50}" },
		{ "rawset(t, 'bedrooms', 4) return http.ok { t.bedrooms, t.price }", "[4,500000.50]" },
		{ "t.price = nil return http.ok { t.price == nil, t.bedrooms }", "[true,3]" },
		{ "table.insert(t, 'a') return http.ok { t[1], #t, t.bedrooms }", "[\"a\",1,3]" },
		{ "return http.ok(t)",
		  "{\"bedrooms\":3,\"deep\":{\"list\":[1,null,\"x\"]},\"price\":500000.50}" },
		{ "return http.ok { json.encode(t) == "
		  "json.encode(json.decode(json.encode(t))), t.deep == t.deep, req.body == t }",
		  "[true,true,true]" },
		{ "local s = setmetatable({}, { __index = t }) return http.ok { s.bedrooms }", "[3]" },
		{ "setmetatable(t, { __index = function(_, k) return k end }) return http.ok { "
		  "t.bedrooms, t.other }",
		  "[3,\"other\"]" },
		{ "t.__index = function(_, k) return k end local s = setmetatable({}, t) "
		  "return http.ok { s.other }",
		  "[\"other\"]" },
		{ "return http.ok { getmetatable(t) == nil, tostring(t), t == t, rawequal(t, req.body) }",
		  "[true,\"table\",true,true]" },
		{ "return http.ok({ 1 }, { ['X-A'] = tostring(t.bedrooms) })", "[1]" },
		{ "return http.ok { (pcall(function() return t + 1 end)) }", "[false]" },
		{ "return http.ok { (pcall(function() return t < t end)) }", "[false]" },
		{ "return http.ok { { t }, { of = t } }",
		  "[[{\"bedrooms\":3,\"deep\":{\"list\":[1,null,\"x\"]},\"price\":500000.50}],"
		  "{\"of\":{\"bedrooms\":3,\"deep\":{\"list\":[1,null,\"x\"]},\"price\":500000.50}}]" },
		{ "local n = 0 for i, v in ipairs(t) do n = n + 1 end return http.ok { n }", "[0]" },
	};

	run_all("local t = req.body", BODY, looks, sizeof(looks) / sizeof(looks[0]));
}

static void record_is_its_table_however_it_is_looked_at(void **state)
{
#define TAIL                                                                  \
	"\"note\":null,\"sold\":null,\"region_origin\":\"us\",\"version\":1," \
	"\"updated_at\":\"2026-02-21T10:00:00.123456Z\"}"
	static const struct look looks[] = {
		{ "return http.ok { t.id, t.price, t.bedrooms, t.bathrooms == nil, t.version, "
		  "t.region_origin, t.updated_at, t.etag }",
		  "[7,500000.00,3,true,1,\"us\",\"2026-02-21T10:00:00.123456Z\",\"\\\"us:1\\\"\"]" },
		{ "local n = 0 for k, v in pairs(t) do n = n + 1 end return http.ok { n }", "[7]" },
		{ "local n = 0 for k, v in next, t do n = n + 1 end return http.ok { n }", "[7]" },
		{ "return http.ok { rawget(t, 'bedrooms'), rawlen(t), #t, next(t) ~= nil }", "[3,0,0,true]" },
		{ "return http.ok(t)",
		  "{\"id\":7,\"price\":500000.00,\"bedrooms\":3,\"bathrooms\":null," TAIL },
		{ "t.bedrooms = 4 return http.ok(t)",
		  "{\"id\":7,\"price\":500000.00,\"bedrooms\":4,\"bathrooms\":null," TAIL },
		{ "rawset(t, 'bedrooms', 4) return http.ok(t)",
		  "{\"id\":7,\"price\":500000.00,\"bedrooms\":4,\"bathrooms\":null," TAIL },
		{ "t.more = 1 return http.ok { json.encode(t):sub(-9) }", "[\"\\\"more\\\":1}\"]" },
		{ "local a = json.encode(t) local b = t.price return http.ok { a == json.encode(t) }",
		  "[true]" },
		{ "return http.ok { (pcall(setmetatable, t, {})), getmetatable(t) == nil, "
		  "(pcall(json.array, t)) }",
		  "[false,true,false]" },
		{ "local s = setmetatable({}, { __index = t }) return http.ok { s.bedrooms, s.none == nil }",
		  "[3,true]" },
		{ "return http.ok { { t } }",
		  "[[{\"id\":7,\"price\":500000.00,\"bedrooms\":3,\"bathrooms\":null," TAIL "]]" },
		{ "local u = records.get('properties', 7) return http.ok { t.version + u.version }", "[2]" },
	};

	run_all("local t = records.get('properties', 7)", NULL, looks, sizeof(looks) / sizeof(looks[0]));
#undef TAIL
}

static void unread_table_is_read_where_an_answer_asks_for_a_table(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/a.lua", HANDLER("return http.ok({}, req.body)")); // of headers
	ask(&t, &b, "handlers/a.lua", "7", "{\"X-Of-Body\":\"yes\"}");
	assert_string_equal(header(&t, "X-Of-Body"), "yes");
	talk_end(&t);
	bench_close(&b);

	bench_open(&b, "handlers/a.lua", HANDLER("return http.problem(req.body)"));
	ask(&t, &b, "handlers/a.lua", "7",
	    "{\"status\":418,\"title\":\"Teapot\",\"errors\":[{\"pointer\":\"/a\",\"detail\":\"b\"}]}");
	assert_int_equal(t.answer.status, 418);
	assert_string_equal(t.answer.problem->title, "Teapot");
	assert_string_equal(t.answer.problem->faults->pointer, "/a");
	talk_end(&t);
	bench_close(&b);

	bench_open(&b, "handlers/a.lua", HANDLER("return http.problem(400, 'No', 'no', req.body)"));
	ask(&t, &b, "handlers/a.lua", "7", "{\"more\":5}");
	assert_string_equal(pl_json_number_text(pl_json_get(t.answer.problem->extra, "more")), "5");
	talk_end(&t);
	bench_close(&b);

	bench_open(&b, "handlers/a.lua", HANDLER("return http.created({ 1 }, '/here', req.body)"));
	ask(&t, &b, "handlers/a.lua", "7", "{\"X-Of-Body\":\"yes\"}");
	assert_string_equal(header(&t, "X-Of-Body"), "yes");
	assert_string_equal(header(&t, "Location"), "/here");
	talk_end(&t);
	bench_close(&b);

	bench_open(&b, "handlers/a.lua",
	           HANDLER("local r = assert(records.get('properties', 7)) return http.created(r)"));
	ask(&t, &b, "handlers/a.lua", "7", NULL);
	assert_string_equal(header(&t, "Location"), "/us/properties/7");
	assert_string_equal(header(&t, "ETag"), "\"us:1\"");
	talk_end(&t);
	bench_close(&b);
}

// The request of the body has ended, so its tree no longer exists; another request is
// running.
static void body_and_record_may_be_kept_unread_and_looked_at_in_another_request(void **state)
{
	run_twice(HEAD "local body, record return { name = 'h', doc = 'a test', handle = function(req) "
	               "if not body then body, record = req.body, records.get('properties', 7) return "
	               "http.ok {} end "
	               "local r = assert(records.update('properties', 7, { price = 1 })) "
	               "return http.ok { body.price, record.price, r.price, records ~= nil } end }",
	          BODY, "{\"price\":9}", "[500000.50,500000.00,1.00,true]");
}

static void kept_body_is_not_mistaken_for_that_of_the_running_request(void **state)
{
	run_twice(HEAD "local body return { name = 'h', doc = 'a test', handle = function(req) "
	               "if not body then body = req.body return http.ok {} end "
	               "local r = assert(records.update('properties', 7, body)) return http.ok { "
	               "r.price, req.body.price } end }",
	          "{\"price\":5}", "{\"price\":9}", "[5.00,9]");
}

static void body_that_a_handler_changed_is_written_as_changed(void **state)
{
	run_on(HANDLER("req.body.price = 6 return http.ok(assert(records.update('properties', "
	               "7, req.body)).price)"),
	       "{\"price\":5}", "6.00");
}

static void body_of_any_form_is_what_it_is(void **state)
{
	run_on(HANDLER("return http.ok { #req.body, req.body[2] }"), "[1,2,3]", "[3,2]");
	run_on(HANDLER("return http.ok { req.body }"), "\"text\"", "[\"text\"]");
	run_on(HANDLER("return http.ok { setmetatable({}, req.body).a }"), "{\"__index\":{\"a\":1}}", "[1]");
	run_on(HANDLER("return http.ok { next(req.body) == nil, req.body }"), "{}", "[true,{}]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(body_is_its_table_however_it_is_looked_at),
		cmocka_unit_test(record_is_its_table_however_it_is_looked_at),
		cmocka_unit_test(unread_table_is_read_where_an_answer_asks_for_a_table),
		cmocka_unit_test(body_and_record_may_be_kept_unread_and_looked_at_in_another_request),
		cmocka_unit_test(kept_body_is_not_mistaken_for_that_of_the_running_request),
		cmocka_unit_test(body_that_a_handler_changed_is_written_as_changed),
		cmocka_unit_test(body_of_any_form_is_what_it_is),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
