-- Read your writes: how far this region has got in the outbox of each other region, by
-- places that clients carry from region to region. See src/seen/seen.c.

-- Where the numbers of the latest run of the origin's relay begin that has published to
-- this partition: a relay that starts, or goes back, sends events again under new
-- numbers.
ALTER TABLE plist.applied_sequences ADD COLUMN IF NOT EXISTS run BIGINT NOT NULL DEFAULT 0;

-- Every event with this id or a lower one in the outbox of the region was applied here.
CREATE TABLE IF NOT EXISTS plist.reached_positions (
    region     TEXT        PRIMARY KEY,
    generation BIGINT      NOT NULL,   -- of the key under which the region counts its writes
    outbox_id  BIGINT      NOT NULL,
    reached_at TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Not while an event of that region is parked: it was received, and its record does not
-- show it.
CREATE OR REPLACE FUNCTION plist.plist_reach(of_region TEXT, reached_generation BIGINT, reached_id BIGINT) RETURNS BOOLEAN LANGUAGE sql VOLATILE AS $$
    INSERT INTO plist.reached_positions AS r (region, generation, outbox_id)
    SELECT of_region, reached_generation, reached_id
    WHERE NOT EXISTS (SELECT FROM plist.parked_events WHERE split_part(origin, '.', 1) = of_region OR headers @> jsonb_build_array(jsonb_build_object('name', 'plist-republished')))
    ON CONFLICT (region) DO UPDATE SET generation = excluded.generation, outbox_id = excluded.outbox_id, reached_at = now()
    WHERE (excluded.generation, excluded.outbox_id) > (r.generation, r.outbox_id);
    SELECT EXISTS (SELECT FROM plist.reached_positions AS r WHERE r.region = of_region AND (r.generation, r.outbox_id) >= (reached_generation, reached_id));
$$;

-- For each region: the position that this database has reached, and the one that covers
-- all that it shows. Its own writes are all here, unless it may have lost some.
CREATE OR REPLACE FUNCTION plist.plist_positions(own TEXT, OUT region TEXT, OUT reached_generation BIGINT, OUT reached_id BIGINT,
                                                 OUT latest_generation BIGINT, OUT latest_id BIGINT) RETURNS SETOF RECORD LANGUAGE sql STABLE AS $$
    SELECT own, i.generation,
           CASE WHEN i.region = own AND i.state = 'settled' AND i.place = plist.plist_place() AND i.run = plist.plist_run()
                THEN 9223372036854775807 ELSE 0 END,
           i.generation, plist.plist_outbox_high()
    FROM plist.identity AS i
    UNION ALL
    SELECT region, coalesce(r.generation, 0), coalesce(r.outbox_id, 0), coalesce(s.generation, 0), coalesce(s.outbox_id, 0)
    FROM plist.reached_positions AS r
    FULL JOIN (SELECT DISTINCT ON (origin) origin AS region, generation, outbox_id FROM plist.applied_sequences
               ORDER BY origin, generation DESC, outbox_id DESC) AS s USING (region)
    WHERE region <> own;
$$;
