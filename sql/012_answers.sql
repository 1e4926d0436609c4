-- Answers travel with their requests, so that a retry gets the same answer in every
-- region.

-- What the client was answered, where it does not follow from the record: see plist-
-- answer in src/event/event.h. It travels as the header plist-answer.
ALTER TABLE plist.outbox ADD COLUMN IF NOT EXISTS answer TEXT;

-- The region whose answer is remembered. When several regions executed a request, it is
-- the first of them by name. Keys with a space name another request that had the same
-- id.
CREATE OR REPLACE FUNCTION plist.plist_answer_owner(of_dots JSONB) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT min(region COLLATE "C") FROM jsonb_object_keys(of_dots) AS region WHERE position(' ' IN region) = 0;
$$;

-- The header plist-answer of a remembered request; NULL if its answer follows from the
-- record. An answer of more than 64 KiB is not sent; its size is.
CREATE OR REPLACE FUNCTION plist.plist_answer(status INTEGER, body JSONB, location TEXT, origin TEXT, resource TEXT, record_id BIGINT)
RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN octet_length(whole) > 65536 THEN jsonb_build_object('status', status, 'region', origin, 'bytes', octet_length(whole))::text
        WHEN whole IS NOT NULL THEN whole
        WHEN location <> '/' || origin || '/' || resource || '/' || record_id THEN jsonb_build_object('location', location)::text
    END
    FROM (SELECT (jsonb_build_object('status', status) || (body -> 'plist:answer'))::text) AS answer(whole);
$$;
