-- Locks of clients whose request was executed in two regions.
--
-- One request with two executions has two dots, so both responses name a state that was
-- current in one region only: us answered {"us": 2}, eu {"us": 1, "eu": 1}, and once they
-- have met, the record has {"us": 2, "eu": 1}. Nobody but the client itself has written.

-- Whether a lock on a version or a vector (NULL: none) names a state that lacks nothing
-- of the record but further executions of requests that the state contains. The record
-- has siblings and the vector `current`. Volatile: it has to see what was committed while
-- the caller waited for the lock of the row.
--
-- A vector says exactly which executions it lacks. A version is only their number, and
-- other states may have had the same one. So it counts only if all siblings are
-- executions of one request on one state: then whatever has that number lacks nothing
-- else.
CREATE OR REPLACE FUNCTION plist.plist_lock_of_twins(of_resource TEXT, of_record BIGINT, current JSONB, on_version INTEGER, on_vector JSONB)
RETURNS BOOLEAN LANGUAGE sql VOLATILE AS $$
    WITH siblings AS MATERIALIZED (
        SELECT s.origin, s.counter, s.vector, r.request_id, r.principal, r.dots,
               CASE WHEN s.counter > 1 THEN s.vector || jsonb_build_object(s.origin, s.counter - 1) ELSE s.vector - s.origin::text END AS base
        FROM plist.record_siblings AS s LEFT JOIN plist.processed_requests AS r
          ON r.request_id = s.request_id AND r.principal = s.principal AND (r.dots ->> s.origin)::integer = s.counter
        WHERE s.resource = of_resource AND s.record_id = of_record
    ), versions AS (
        SELECT (SELECT sum(n::integer) FROM jsonb_each_text(current) AS c(region, n)) AS current_version,
               count(*) AS executions,
               count(*) = count(request_id) AND count(DISTINCT (request_id, principal)) = 1 AND count(DISTINCT base) = 1 AS one_request
        FROM siblings
    )
    SELECT coalesce(
        (on_version IS NULL OR (SELECT on_version = current_version
                                    OR one_request AND on_version BETWEEN current_version - executions + 1 AND current_version
                                FROM versions))
        AND (on_vector IS NULL OR (
            NOT EXISTS (SELECT FROM jsonb_each_text(on_vector) AS l(region, n) WHERE n::integer > coalesce((current ->> region)::integer, 0))
            AND NOT EXISTS (
                SELECT FROM jsonb_each_text(current) AS c(region, n)
                WHERE n::integer <> coalesce((on_vector ->> region)::integer, 0)
                  AND NOT EXISTS (
                      SELECT FROM siblings AS s, jsonb_each_text(s.dots) AS d(other, k)
                      WHERE s.origin = c.region AND s.counter = n::integer AND s.counter = coalesce((on_vector ->> region)::integer, 0) + 1
                        AND k::integer <= (on_vector ->> other)::integer           -- the state contains this execution
                        AND k::integer > coalesce((s.vector ->> other)::integer, 0))))), -- and the sibling was made without knowing it
        false);
$$;
