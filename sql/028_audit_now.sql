-- Audits that somebody wants now: an operator, or a daemon that has found a reason.

-- The next round with these regions begins at once. Returns the time of the statement.
CREATE OR REPLACE FUNCTION plist.plist_want_audit(regions TEXT[]) RETURNS TIMESTAMPTZ LANGUAGE sql VOLATILE AS $$
    INSERT INTO plist.audits AS a (region, wished_at) SELECT r, clock_timestamp() FROM unnest(regions) AS r
        ON CONFLICT (region) DO UPDATE SET wished_at = clock_timestamp();
    SELECT statement_timestamp();
$$;
