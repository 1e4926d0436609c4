// plist.records: get, list, create, update, delete.
//
// How a handler uses the store (store/store.h). Each function checks its arguments,
// prepares an op and yields. Its continuation is resumed with the result and returns the
// record, or nil and an error that http.problem turns into an answer. Wrong use raises.
// Threads: a VM's.
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "script/bind/bind.h"
#include "script/bind/http.h"
#include "script/bind/list.h"
#include "script/request.h"
#include "script/run_state.h"
#include "script/value.h"

#define ID_OF_NONE INT64_MIN // no record can have it

static const struct pl_resource *resource_at(lua_State *L, int index)
{
	const char *name = luaL_checkstring(L, index);
	const struct pl_resource *resource = pl_config_resource(pl_vm_of(L)->config, name);

	if (!resource)
		luaL_error(L, "there is no resource '%s' in the configuration", name);
	return resource;
}

// An id from a path or a body; ID_OF_NONE: no record can have it.
static int64_t id_at(lua_State *L, int index)
{
	const char *text;
	size_t len, digits;
	int64_t id;

	if (lua_isinteger(L, index)) {
		id = lua_tointeger(L, index);
	} else {
		if (lua_type(L, index) != LUA_TSTRING)
			luaL_argerror(L, index, "an id must be an integer, or a string that contains one");
		text = lua_tolstring(L, index, &len);
		digits = strspn(text, "0123456789");
		if (digits == 0 || digits != len || digits > 16 || text[0] == '0')
			return ID_OF_NONE;
		id = strtoll(text, NULL, 10);
	}
	return id >= 1 && id <= PL_ID_MAX ? id : ID_OF_NONE;
}

static int give_problem(lua_State *L, const struct pl_problem *problem)
{
	lua_pushnil(L);
	pl_bind_http_push_problem(L, problem);
	return 2;
}

static int got(lua_State *L, int status, lua_KContext context)
{
	struct pl_run *run = pl_vm_of(L)->run;
	struct pl_read *read = &run->op->read;

	if (read->code == 0) {
		pl_value_push_record(L, read->record);
		return 1;
	}
	if (read->code == PL_ENOTFOUND)
		return give_problem(L, pl_exchange_problem_not_found(run->arena, read->resource));
	if (read->err.code == 0)
		read->err.code = read->code;
	return give_problem(L, pl_exchange_problem_of_error(run->arena, &read->err));
}

static int rec_get(lua_State *L)
{
	struct pl_run *run = pl_run_current(L, "records.get");
	const struct pl_resource *resource = resource_at(L, 1);
	int64_t id = id_at(L, 2);

	if (id == ID_OF_NONE)
		return give_problem(L, pl_exchange_problem_not_found(run->arena, resource));
	pl_run_prepare_read(run, resource, id);
	return lua_yieldk(L, 0, 0, got);
}

static int listed(lua_State *L, int status, lua_KContext context)
{
	struct pl_run *run = pl_vm_of(L)->run;
	struct pl_query *query = &run->op->query;
	const struct pl_resource *resource = resource_at(L, 1);
	bool more;
	int n;

	if (query->code != 0) {
		if (query->err.code == 0)
			query->err.code = query->code;
		return give_problem(L, pl_exchange_problem_of_error(run->arena, &query->err));
	}
	n = pl_store_list_page(query, &more);
	lua_createtable(L, n, 0);
	pl_value_mark_array(L);
	for (int i = 0; i < n; i++) {
		const struct pl_record *record = pl_store_list_record(query, resource, i, &query->err);

		if (!record)
			return give_problem(L, pl_exchange_problem_of_error(run->arena, &query->err));
		pl_value_push_record(L, record);
		lua_rawseti(L, -2, i + 1);
		if (i == n - 1 && more)
			lua_pushinteger(L, record->id);
	}
	if (!more)
		lua_pushnil(L);
	return 2;
}

//   1  resource   2  { limit =, after =, filters = } or nothing
static int rec_list(lua_State *L)
{
	struct pl_run *run = pl_run_current(L, "records.list");
	const struct pl_resource *resource = resource_at(L, 1);
	struct pl_list list = { .arena = run->arena, .resource = resource };
	struct pl_query *query;

	lua_settop(L, 2);
	pl_list_read(L, 2, &list);
	if (list.faults)
		return give_problem(L, pl_exchange_problem_of_faults(run->arena, list.faults));
	query = pl_run_prepare_query(run);
	pl_store_list_sql(query, resource, list.after, list.limit, list.filters, list.nfilters);
	lua_settop(L, 1);
	return lua_yieldk(L, 0, 0, listed);
}

// Sets the lock of a write: req.lock, an entity tag, a version, or nothing. Returns the
// pointer of a fault, with *fault_r, or NULL.
static const char *set_lock(lua_State *L, int index, struct pl_write *write, const char **fault_r)
{
	const struct pl_lock *lock = pl_request_lock_at(L, index);
	const char *text;
	size_t len;

	if (lua_isnoneornil(L, index))
		return NULL;
	if (lock) {
		write->has_version = lock->has_version;
		write->version = lock->version;
		write->has_etag = lock->has_etag;
		write->etag = lock->etag;
		write->etag_any = lock->etag_any;
		write->etag_never = lock->etag_never;
		pl_vm_of(L)->run->op->others = pl_vm_of(L)->run->request->if_match_others;
		*fault_r = lock->fault;
		return lock->fault_pointer;
	}
	if (lua_isinteger(L, index)) {
		lua_Integer version = lua_tointeger(L, index);

		write->has_version = true;
		write->version = version >= 1 && version <= INT32_MAX ? (int32_t)version
		                                                      : 0; // no record has version 0
		return NULL;
	}
	if (lua_type(L, index) != LUA_TSTRING)
		luaL_argerror(L, index, "a lock must be req.lock, a record's etag, or its version");
	text = lua_tolstring(L, index, &len);
	write->has_etag = true;
	write->etag_never = pl_vector_parse_etag(&write->etag, text, len) != 0;
	return NULL;
}

// A create may have a member `id`; without one, the store assigns an id. In an update it
// must be the id of the path.
static void check_id(struct pl_write *write, const cJSON *fields, struct pl_fault **faults)
{
	const cJSON *member = cJSON_IsObject(fields) ? pl_json_get(fields, "id") : NULL;
	int64_t id = 0;

	if (!member || (write->op == PL_WRITE_CREATE && cJSON_IsNull(member)))
		return;
	if (!pl_json_is_number(member) || pl_json_int64(member, &id) < 0 || id < 1 || id > PL_ID_MAX)
		pl_fault_add(write->arena, faults, "/id", "must be an integer from 1 to 9007199254740991");
	else if (write->op == PL_WRITE_CREATE)
		write->id = id;
	else if (id != write->id)
		pl_fault_add(write->arena, faults, "/id", "must be the id of the path");
}

// Checks the fields at `index` and sets them. The check takes a tree of JSON.
static void set_fields(lua_State *L, int index, struct pl_write *write, struct pl_fault **faults)
{
	static const char *const with_create[] = { "id", NULL }, *const with_update[] = { "id", "version",
		                                                                          NULL };
	bool create = write->op == PL_WRITE_CREATE;
	const char *fault;
	const cJSON *tree = pl_value_body_at(L, index);

	if (!tree)
		tree = pl_value_tree(L, index, write->arena, &fault);
	if (!tree) {
		pl_fault_add(write->arena, faults, "", fault);
		return;
	}
	*faults = pl_changes_parse(write->arena, write->resource, create ? PL_BODY_CREATE : PL_BODY_UPDATE,
	                           tree, create ? with_create : with_update, &write->changes);
	check_id(write, tree, faults);
}

static int written(lua_State *L, int status, lua_KContext context)
{
	struct pl_run *run = pl_vm_of(L)->run;
	struct pl_write *write = &run->op->write;
	const struct pl_problem *problem =
		pl_exchange_problem_of_write(run->arena, write, run->request->route);

	if (problem)
		return give_problem(L, problem);
	pl_value_push_record(L, write->record);
	return 1;
}

static struct pl_run *begin_write(lua_State *L, const char *what)
{
	struct pl_run *run = pl_run_current(L, what);

	if (run->wrote)
		luaL_error(L, "%s: this request has already written; a request can write once", what);
	return run;
}

// A write with an impossible id goes to the store, too, if it has a request id: a retry
// must get its remembered answer.
static int send_write(lua_State *L, struct pl_run *run, const struct pl_fault *faults)
{
	const struct pl_write *write = &run->op->write;

	if (faults)
		return give_problem(L, pl_exchange_problem_of_faults(run->arena, faults));
	if (write->id == ID_OF_NONE && !write->request_id[0])
		return give_problem(L, pl_exchange_problem_not_found(run->arena, write->resource));
	run->wrote = true;
	return lua_yieldk(L, 0, 0, written);
}

//   1  resource   2  fields   3  req, accepted and ignored
static int rec_create(lua_State *L)
{
	struct pl_run *run = begin_write(L, "records.create");
	const struct pl_resource *resource = resource_at(L, 1);
	struct pl_write *write;
	struct pl_fault *faults = NULL;

	luaL_checkany(L, 2);
	write = pl_run_prepare_write(run, resource, PL_WRITE_CREATE, 0);
	write->lock = PL_LOCK_NONE;
	set_fields(L, 2, write, &faults);
	return send_write(L, run, faults);
}

//   1  resource   2  id   3  fields   4  lock
static int rec_update(lua_State *L)
{
	struct pl_run *run = begin_write(L, "records.update");
	const struct pl_resource *resource = resource_at(L, 1);
	struct pl_write *write;
	struct pl_fault *faults = NULL;
	const char *pointer, *fault;
	int64_t id = id_at(L, 2);

	luaL_checkany(L, 3);
	write = pl_run_prepare_write(run, resource, PL_WRITE_UPDATE, id);
	pointer = set_lock(L, 4, write, &fault);
	set_fields(L, 3, write, &faults);
	if (pointer)
		pl_fault_add(run->arena, &faults, pointer, fault);
	return send_write(L, run, faults);
}

//   1  resource   2  id   3  lock
static int rec_delete(lua_State *L)
{
	struct pl_run *run = begin_write(L, "records.delete");
	const struct pl_resource *resource = resource_at(L, 1);
	struct pl_write *write;
	struct pl_fault *faults = NULL;
	const char *pointer, *fault;
	int64_t id = id_at(L, 2);

	write = pl_run_prepare_write(run, resource, PL_WRITE_DELETE, id);
	pointer = set_lock(L, 3, write, &fault);
	if (pointer)
		pl_fault_add(run->arena, &faults, pointer, fault);
	return send_write(L, run, faults);
}

int pl_bind_records(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "create", rec_create }, { "delete", rec_delete }, { "get", rec_get },
		{ "list", rec_list },     { "update", rec_update }, { NULL, NULL },
	};

	luaL_newlib(L, functions);
	return 1;
}
