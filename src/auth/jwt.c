// See jwt.h.
//
// The order of the checks: form, header, key, signature, and only then the claims.
// Nothing that a token refers to is fetched, and keys in its header are ignored.
// Threads: any; no state.
#include "auth/jwt.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PARTS         3
#define SIGNATURE_MAX 1024
#define TIME_MAX      INT64_C(253402300799) // the end of the year 9999
#define US_PER_SECOND INT64_C(1000000)

static const struct pl_json_limits limits = { PL_JWT_LEN_MAX, 8, 512 };

struct token {
	const char *text;
	size_t signed_len; // of header and payload, including the dot between them
	const char *parts[PARTS];
	size_t lens[PARTS];
	const cJSON *header, *payload;
};

static bool split(const char *text, struct token *token)
{
	const char *at = text;

	*token = (struct token){ .text = text };
	if (strlen(text) > PL_JWT_LEN_MAX)
		return false;
	for (int i = 0; i < PARTS; i++) {
		token->parts[i] = at;
		token->lens[i] = strcspn(at, ".");
		at += token->lens[i];
		if (token->lens[i] == 0 || (*at == '.') != (i < PARTS - 1))
			return false;
		at++;
	}
	token->signed_len = (size_t)(token->parts[PARTS - 1] - text) - 1;
	return true;
}

// Parses a part that is a JSON object; NULL otherwise. The strict parser refuses
// duplicate names.
static cJSON *object_of(struct pl_arena *arena, const struct token *token, int part)
{
	uint8_t *text = pl_arena_alloc(arena, token->lens[part] + 1);
	int len = pl_jwks_decode(token->parts[part], token->lens[part], text, token->lens[part]);
	cJSON *json = len > 0 ? pl_json_parse((const char *)text, (size_t)len, &limits, NULL) : NULL;

	if (json && !cJSON_IsObject(json)) {
		cJSON_Delete(json);
		return NULL;
	}
	return json;
}

// "crit" lists extensions that must be understood, and we know none. "cty" means that
// the token contains another token.
static const char *fault_of_header(const cJSON *header)
{
	const char *type = pl_json_string(header, "typ");

	if (!pl_json_string(header, "alg"))
		return "its header has no alg";
	if (pl_json_get(header, "crit") || pl_json_get(header, "b64"))
		return "it needs an extension";
	if (pl_json_get(header, "cty") || pl_json_get(header, "enc") || pl_json_get(header, "zip"))
		return "it holds another token, or is encrypted or compressed";
	if (pl_json_get(header, "typ") &&
	    (!type || (strcasecmp(type, "JWT") != 0 && strcasecmp(type, "at+jwt") != 0)))
		return "it is of another type";
	if (pl_json_get(header, "kid") && !pl_json_string(header, "kid"))
		return "its kid is not a string";
	return NULL;
}

static const char *fault_of_signature(const struct pl_jwks *jwks, const struct token *token,
                                      bool *unknown_key_r)
{
	const char *why = fault_of_header(token->header);
	uint8_t signature[SIGNATURE_MAX];

	if (why)
		return why;
	const struct pl_jwks_key *key = pl_jwks_find(jwks, pl_json_string(token->header, "kid"),
	                                             pl_json_string(token->header, "alg"));
	*unknown_key_r = !key;
	if (!key)
		return "no key has its kid and algorithm";
	int len = pl_jwks_decode(token->parts[2], token->lens[2], signature, sizeof(signature));
	if (len < 0 || !pl_jwks_verify(key, token->text, token->signed_len, signature, (size_t)len))
		return "its signature is wrong";
	return NULL;
}

// Reads a NumericDate: seconds, perhaps with a fraction, which is cut off. -1: it is
// not a NumericDate.
static int64_t time_of(const cJSON *item)
{
	const char *text = pl_json_is_number(item) ? pl_json_number_text(item) : NULL;
	size_t digits = text ? strspn(text, "0123456789") : 0;

	if (digits == 0 || digits > 12)
		return -1;
	if (text[digits] == '.')
		digits += 1 + strspn(text + digits + 1, "0123456789");
	int64_t seconds = strtoll(text, NULL, 10);
	return text[digits] == '\0' && seconds <= TIME_MAX ? seconds * US_PER_SECOND : -1;
}

static const char *fault_of_times(const cJSON *payload, const struct pl_jwt_rules *rules, int64_t now_us,
                                  int64_t *until_us_r)
{
	const cJSON *from = pl_json_get(payload, "nbf"), *issued = pl_json_get(payload, "iat");
	int64_t until_us = time_of(pl_json_get(payload, "exp")), from_us = from ? time_of(from) : 0;
	int64_t issued_us = issued ? time_of(issued) : 0;

	if (until_us < 0)
		return "it has no valid exp";
	if (from_us < 0 || issued_us < 0)
		return "its nbf or iat is not valid";
	*until_us_r = until_us + rules->leeway_us;
	if (now_us >= *until_us_r)
		return "it has expired";
	if (now_us + rules->leeway_us < from_us)
		return "it is not valid yet";
	if (now_us + rules->leeway_us < issued_us)
		return "it was issued in the future";
	return NULL;
}

static bool is_for(const cJSON *audience, const char *wanted)
{
	const cJSON *item;

	if (cJSON_IsString(audience))
		return strcmp(audience->valuestring, wanted) == 0;
	if (!cJSON_IsArray(audience))
		return false;
	bool found = false;
	cJSON_ArrayForEach (item, audience) {
		if (!cJSON_IsString(item))
			return false;
		found |= strcmp(item->valuestring, wanted) == 0;
	}
	return found;
}

static void add_role(struct pl_arena *arena, struct pl_roles *roles, const char *name, size_t len)
{
	const char *role = pl_arena_strndup(arena, name, len);

	if (roles->n < PL_ROLES_MAX && pl_roles_valid(role))
		roles->names[roles->n++] = role;
}

// Reads a list of strings, or one string of words as in "scope". A word that cannot be
// the name of a role grants nothing, so it is left out.
static const char *take_roles(struct pl_arena *arena, const cJSON *claim, struct pl_roles *roles)
{
	const cJSON *item;

	*roles = (struct pl_roles){ .names = pl_arena_array(arena, PL_ROLES_MAX, sizeof(char *)) };
	if (!claim)
		return NULL;
	if (cJSON_IsString(claim)) {
		for (const char *at = claim->valuestring; *at; at += strspn(at, " ")) {
			size_t len = strcspn(at, " ");
			add_role(arena, roles, at, len);
			at += len;
		}
		return NULL;
	}
	if (!cJSON_IsArray(claim))
		return "its roles are neither a list nor a string";
	cJSON_ArrayForEach (item, claim) {
		if (!cJSON_IsString(item))
			return "one of its roles is not a string";
		add_role(arena, roles, item->valuestring, strlen(item->valuestring));
	}
	return NULL;
}

static const cJSON *claim_at(const cJSON *payload, const struct pl_jwt_rules *rules)
{
	const cJSON *item = payload;

	for (int i = 0; i < rules->nroles_claim && item; i++)
		item = cJSON_IsObject(item) ? pl_json_get(item, rules->roles_claim[i]) : NULL;
	return item;
}

static const char *fault_of_claims(struct pl_arena *arena, const cJSON *payload,
                                   const struct pl_jwt_rules *rules, struct pl_identity *identity)
{
	const char *issuer = pl_json_string(payload, "iss");
	const char *principal = pl_json_string(payload, rules->principal_claim);

	if (!issuer || strcmp(issuer, rules->issuer) != 0)
		return "it has another issuer";
	if (!is_for(pl_json_get(payload, "aud"), rules->audience))
		return "it is for another audience";
	if (!principal || !pl_roles_valid_principal(principal))
		return "it names no principal of 1 to 64 visible ASCII characters, "
		       "or " PL_PRINCIPALS_OF_PLIST;
	identity->principal = pl_arena_strdup(arena, principal);
	return take_roles(arena, claim_at(payload, rules), &identity->roles);
}

static const char *fault_of(const struct pl_jwks *jwks, const struct pl_jwt_rules *rules,
                            struct pl_arena *arena, const struct token *token, struct pl_jwt_result *result)
{
	const char *why = "its header or payload is not a JSON object";

	if (token->header && token->payload)
		why = fault_of_signature(jwks, token, &result->unknown_key);
	if (!why)
		why = fault_of_times(token->payload, rules, result->now_us, &result->until_us);
	return why ? why : fault_of_claims(arena, token->payload, rules, &result->identity);
}

int pl_jwt_check(const struct pl_jwks *jwks, const struct pl_jwt_rules *rules, struct pl_arena *arena,
                 const char *token_text, struct pl_jwt_result *result_r)
{
	struct token token;

	result_r->why = "it does not have the form of a token";
	if (!split(token_text, &token))
		return PL_EINVAL;
	cJSON *header = object_of(arena, &token, 0), *payload = object_of(arena, &token, 1);
	token.header = header;
	token.payload = payload;
	result_r->why = fault_of(jwks, rules, arena, &token, result_r);
	cJSON_Delete(header);
	cJSON_Delete(payload);
	return result_r->why ? PL_EINVAL : 0;
}
