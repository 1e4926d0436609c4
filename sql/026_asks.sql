-- Asks that are answered although the region that asked was away when it was served.

-- As in 014; a partition of which nothing was received yet lacks its events, too.
CREATE OR REPLACE FUNCTION plist.plist_has_received(of_origin TEXT, from_numbers JSONB, to_numbers JSONB) RETURNS BOOLEAN LANGUAGE sql STABLE AS $$
    SELECT coalesce(bool_and(coalesce(s.seq >= e.upto OR s.chain_to >= e.upto AND s.chain_from <= e.behind, false)), true)
    FROM (SELECT t.topic, (p.n - 1)::int AS partition, coalesce(substring(p.number FROM '^[0-9]{1,18}')::bigint, 0) AS upto,
                 coalesce(substring(split_part(from_numbers ->> t.topic, ',', p.n::int) FROM '^[0-9]{1,18}')::bigint, 0) AS behind
          FROM jsonb_each_text(to_numbers) AS t(topic, numbers), string_to_table(t.numbers, ',') WITH ORDINALITY AS p(number, n)) AS e
    LEFT JOIN plist.applied_sequences AS s ON s.origin = of_origin AND s.topic = e.topic AND s.partition = e.partition
    WHERE e.upto > e.behind;
$$;

-- Whether some of a region's events with numbers behind `from_numbers` up to
-- `to_numbers` will never arrive: the region keeps none up to `base`, and they are not in
-- Kafka either, since the partition was read to its end or later messages have arrived.
CREATE OR REPLACE FUNCTION plist.plist_never_arrives(of_origin TEXT, from_numbers JSONB, to_numbers JSONB, base JSONB) RETURNS BOOLEAN LANGUAGE sql STABLE AS $$
    SELECT coalesce(bool_or((s.level OR s.chain_to > 0) AND greatest(s.seq, e.behind) < least(e.upto, e.gone)
                            AND NOT (s.chain_to >= e.upto AND s.chain_from <= e.behind)), false)
    FROM (SELECT t.topic, (p.n - 1)::int AS partition, coalesce(substring(p.number FROM '^[0-9]{1,18}')::bigint, 0) AS upto,
                 coalesce(substring(split_part(from_numbers ->> t.topic, ',', p.n::int) FROM '^[0-9]{1,18}')::bigint, 0) AS behind,
                 coalesce(substring(split_part(base ->> t.topic, ',', p.n::int) FROM '^[0-9]{1,18}')::bigint, 0) AS gone
          FROM jsonb_each_text(to_numbers) AS t(topic, numbers), string_to_table(t.numbers, ',') WITH ORDINALITY AS p(number, n)) AS e
    JOIN plist.applied_sequences AS s ON s.origin = of_origin AND s.topic = e.topic AND s.partition = e.partition;
$$;

-- As in 014; what was published for an ask and can never arrive is asked for again, as
-- another ask.
CREATE OR REPLACE FUNCTION plist.plist_take_served() RETURNS VOID LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    a record;
BEGIN
    FOR a IN SELECT k.id, k.of_region, s.value AS served, h.word -> 'base' AS base FROM plist.asks AS k
             JOIN plist.region_heartbeats AS h ON h.region = k.of_region CROSS JOIN LATERAL jsonb_array_elements(h.word -> 'served') AS s(value)
             WHERE k.done_at IS NULL AND s.value ->> 'id' = k.id LOOP
        UPDATE plist.asks SET records = (a.served ->> 'records')::bigint, total = (a.served ->> 'total')::bigint
        WHERE id = a.id AND (records, total) IS DISTINCT FROM ((a.served ->> 'records')::bigint, (a.served ->> 'total')::bigint);
        CONTINUE WHEN coalesce(jsonb_typeof(a.served -> 'to'), 'null') = 'null';
        IF NOT plist.plist_has_received(a.of_region, a.served -> 'from', a.served -> 'to') THEN
            UPDATE plist.asks SET id = gen_random_uuid()::text, asked_at = clock_timestamp(), records = 0, total = NULL
            WHERE id = a.id AND plist.plist_never_arrives(a.of_region, a.served -> 'from', a.served -> 'to', a.base);
            CONTINUE;
        END IF;
        UPDATE plist.asks SET done_at = clock_timestamp() WHERE id = a.id;
        UPDATE plist.applied_sequences AS s SET seq = greatest(s.seq, s.chain_to, e.upto), chain_from = 0, chain_to = 0, level = false
        FROM (SELECT t.topic, (p.n - 1)::int AS partition, coalesce(substring(p.number FROM '^[0-9]{1,18}')::bigint, 0) AS upto
              FROM jsonb_each_text(a.served -> 'to') AS t(topic, numbers), string_to_table(t.numbers, ',') WITH ORDINALITY AS p(number, n)) AS e
        WHERE s.origin = a.of_region AND s.topic = e.topic AND s.partition = e.partition;
    END LOOP;
END $$;

-- As in 018; the first position under a later key stands for all that the region had
-- published under earlier ones. It has got that back from the others, and this region
-- may be the one that still lacks it: it must have received what they have published.
CREATE OR REPLACE FUNCTION plist.plist_reach(of_region TEXT, reached_generation BIGINT, reached_id BIGINT) RETURNS BOOLEAN LANGUAGE sql VOLATILE AS $$
    INSERT INTO plist.reached_positions AS r (region, generation, outbox_id)
    SELECT of_region, reached_generation, reached_id
    WHERE NOT EXISTS (SELECT FROM plist.parked_events WHERE split_part(origin, '.', 1) = of_region OR headers @> jsonb_build_array(jsonb_build_object('name', 'plist-republished')))
        AND NOT (EXISTS (SELECT FROM plist.reached_positions AS k WHERE k.region = of_region AND k.generation < reached_generation)
                 AND EXISTS (SELECT FROM plist.region_heartbeats AS h, plist.identity AS i,
                             LATERAL (SELECT jsonb_object_agg(t.key, t.value) FROM jsonb_each(h.published) AS t
                                      WHERE t.key IN (SELECT topic FROM plist.applied_sequences)) AS p(published)
                             WHERE h.region NOT IN (of_region, i.region) AND NOT plist.plist_has_received(h.region, '{}', p.published)))
    ON CONFLICT (region) DO UPDATE SET generation = excluded.generation, outbox_id = excluded.outbox_id, reached_at = now()
    WHERE (excluded.generation, excluded.outbox_id) > (r.generation, r.outbox_id);
    SELECT EXISTS (SELECT FROM plist.reached_positions AS r WHERE r.region = of_region AND (r.generation, r.outbox_id) >= (reached_generation, reached_id));
$$;
