-- The audit: what each round of comparing this region's records with those of another
-- region has found. See src/audit/audit.h.

CREATE TABLE IF NOT EXISTS plist.audits (
    region      TEXT        PRIMARY KEY,               -- the other region
    round       BIGINT      NOT NULL DEFAULT 0,        -- rounds that have begun
    made_at     TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    wished_at   TIMESTAMPTZ,                           -- somebody wants a round now
    begun_at    TIMESTAMPTZ,                           -- of the last round
    finished_at TIMESTAMPTZ,                           -- when the last round ended, complete or not
    why         TEXT,                                  -- why it has not compared all records; NULL: it has
    compared_at TIMESTAMPTZ,                           -- when the last round ended that has
    records     BIGINT      NOT NULL DEFAULT 0,        -- how many the last round compared
    unlisted    BIGINT      NOT NULL DEFAULT 0         -- records that differ beside those in the list
);

-- Records that differ: in this region something of the other one is missing or different.
CREATE TABLE IF NOT EXISTS plist.audit_differences (
    region     TEXT        NOT NULL REFERENCES plist.audits ON DELETE CASCADE,
    resource   TEXT        NOT NULL,
    record_id  BIGINT      NOT NULL,
    difference TEXT        NOT NULL CHECK (difference IN ('missing', 'behind', 'concurrent', 'siblings-differ', 'content-differs')),
    round      BIGINT      NOT NULL,                   -- that has found it last
    found_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    seen_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (region, resource, record_id)
);

-- How many records differ, by region; and when all were last compared with it.
CREATE OR REPLACE FUNCTION plist.plist_audit_differing(OUT region TEXT, OUT records BIGINT, OUT compared_at TIMESTAMPTZ) RETURNS SETOF RECORD LANGUAGE sql STABLE AS $$
    SELECT a.region, a.unlisted + (SELECT count(*) FROM plist.audit_differences AS d WHERE d.region = a.region), a.compared_at
    FROM plist.audits AS a;
$$;
