-- Records that one request created in several regions, and of which at most one is left.
-- They are kept for a while, since the pair may concern people again: a further region's
-- record can arrive late, and a deleted record is there again if another region has
-- written it meanwhile.

-- A pair moves here from created_twice when it is closed, and back when its request is
-- heard of again. Housekeeping deletes it when its request is forgotten and conflicts of
-- its age are.
CREATE TABLE IF NOT EXISTS plist.created_twice_closed (
    resource    TEXT        NOT NULL,
    record_id   BIGINT      NOT NULL,
    origin      TEXT        NOT NULL,
    kept_id     BIGINT      NOT NULL,
    kept_origin TEXT        NOT NULL,
    request_id  TEXT        NOT NULL,
    principal   TEXT        NOT NULL,
    closed_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (resource, record_id)
);
CREATE INDEX IF NOT EXISTS created_twice_closed_by_request ON plist.created_twice_closed (request_id, principal);
CREATE INDEX IF NOT EXISTS created_twice_closed_by_kept ON plist.created_twice_closed (resource, kept_id);

-- Pairs that were closed before, as far as conflicts and requests are remembered.
INSERT INTO plist.created_twice_closed (resource, record_id, origin, kept_id, kept_origin, request_id, principal, closed_at)
SELECT DISTINCT ON (c.resource, c.record_id) c.resource, c.record_id, c.siblings #>> '{1,origin}', (c.siblings #>> '{0,id}')::bigint,
       c.siblings #>> '{0,origin}', p.request_id, p.principal, c.closed_at
FROM plist.conflicts AS c JOIN plist.processed_requests AS p ON p.request_id = c.siblings #>> '{1,request_id}' OR p.request_id = c.siblings #>> '{0,request_id}'
WHERE c.type = 'created_twice' AND c.closed_at IS NOT NULL AND p.resource = c.resource
  AND c.siblings #>> '{0,id}' IS NOT NULL AND c.siblings #>> '{0,origin}' IS NOT NULL AND c.siblings #>> '{1,origin}' IS NOT NULL
  AND NOT EXISTS (SELECT FROM plist.created_twice AS t WHERE t.resource = c.resource AND t.record_id = c.record_id)
ORDER BY c.resource, c.record_id, c.detected_at DESC
ON CONFLICT DO NOTHING;
