-- Which database this is, under which key its region counts its writes, and what
-- regions ask of each other when one has lost something.

-- A region counts its writes under its name; after its count may have been lost (its
-- database is new, was emptied or restored) under "eu.2", then "eu.3", and so on: the
-- generation. Its writes wait until it is known that no number is given a second time.
CREATE TABLE IF NOT EXISTS plist.identity (
    one         BOOLEAN     PRIMARY KEY DEFAULT true CHECK (one),
    incarnation UUID        NOT NULL DEFAULT gen_random_uuid(),
    region      TEXT,                                   -- NULL: no region has claimed the database
    generation  BIGINT      NOT NULL DEFAULT 0 CHECK (generation >= 0),  -- 0: none yet
    state       TEXT        NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'settled', 'rebuilding')),
    place       TEXT,       -- of the database when it was claimed: a copy or a restored one is elsewhere
    run         TEXT,       -- of the server, when its count was last known to be complete
    drained     BOOLEAN     NOT NULL DEFAULT false,     -- the operator sends all requests to other regions
    since       TIMESTAMPTZ NOT NULL DEFAULT now()      -- of the state
);
INSERT INTO plist.identity DEFAULT VALUES ON CONFLICT DO NOTHING;

-- The last that was heard of each other region's database, so that it can be told when
-- it has forgotten.
CREATE TABLE IF NOT EXISTS plist.known_regions (
    region      TEXT   PRIMARY KEY,
    incarnation UUID,
    generation  BIGINT NOT NULL DEFAULT 0,
    outbox_id   BIGINT NOT NULL DEFAULT 0,   -- the latest row of its outbox, within the generation
    id_base     BIGINT                       -- where its range of ids begins
) WITH (fillfactor = 50);

ALTER TABLE plist.applied_sequences
    ADD COLUMN IF NOT EXISTS generation BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS outbox_id  BIGINT NOT NULL DEFAULT 0;
ALTER TABLE plist.region_heartbeats
    ADD COLUMN IF NOT EXISTS word JSONB;     -- see plist_word

-- What this region asks of others: to publish again what they hold.
CREATE TABLE IF NOT EXISTS plist.asks (
    id        TEXT        PRIMARY KEY,
    of_region TEXT        NOT NULL,
    purpose   TEXT        NOT NULL CHECK (purpose IN ('rebuild', 'gap')),
    written_since TIMESTAMPTZ,               -- records written since then; NULL: all
    asked_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    records   BIGINT      NOT NULL DEFAULT 0, -- that the other region has published for it
    total     BIGINT,
    done_at   TIMESTAMPTZ
);
-- What others asked of this region.
CREATE TABLE IF NOT EXISTS plist.served_asks (
    id             TEXT        PRIMARY KEY,
    for_region     TEXT        NOT NULL,
    written_since  TIMESTAMPTZ,
    published_from JSONB       NOT NULL,     -- numbers before the first event of it
    outbox_to      BIGINT,                   -- the last row of it; NULL: not all are in the outbox
    published_to   JSONB,                    -- numbers behind its last event; NULL: not all are published
    records        BIGINT      NOT NULL DEFAULT 0,
    total          BIGINT,
    begun_at       TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    done_at        TIMESTAMPTZ
);

CREATE OR REPLACE FUNCTION plist.plist_key(region TEXT, generation BIGINT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$
    SELECT region || CASE WHEN generation > 1 THEN '.' || generation ELSE '' END;
$$;

-- A database that was restored or copied is elsewhere.
CREATE OR REPLACE FUNCTION plist.plist_place() RETURNS TEXT LANGUAGE sql STABLE AS $$
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                     (SELECT oid FROM pg_database WHERE datname = current_database()), 'plist.identity'::regclass::oid);
$$;

-- Within one run of the server nothing that was committed is lost.
CREATE OR REPLACE FUNCTION plist.plist_run() RETURNS TEXT LANGUAGE sql STABLE AS $$
    SELECT concat_ws(' ', (SELECT timeline_id FROM pg_control_checkpoint()), extract(epoch FROM pg_postmaster_start_time()));
$$;

-- The latest row that the outbox ever had, as far as this database knows.
CREATE OR REPLACE FUNCTION plist.plist_outbox_high() RETURNS BIGINT LANGUAGE sql STABLE AS $$
    SELECT greatest((SELECT coalesce(max(id), 0) FROM plist.outbox), (SELECT coalesce(max(floor_id), 0) FROM plist.outbox_marks));
$$;

-- For each new connection that writes: an error unless the region may write here, under
-- this key. Nothing was executed then, and a little later it may be: another region can
-- take the write, and the daemon connects again.
CREATE OR REPLACE FUNCTION plist.plist_claim_identity(own TEXT, own_key TEXT) RETURNS VOID LANGUAGE plpgsql STABLE AS $$
DECLARE
    i plist.identity := (SELECT d FROM plist.identity AS d);
BEGIN
    IF i.region <> own THEN
        RAISE EXCEPTION 'this database belongs to region %, not to region %: check regions.%.database', i.region, own, own;
    ELSIF pg_is_in_recovery() THEN
        RETURN; -- a standby says itself that it takes no writes, and its sessions end when it does
    ELSIF i.region IS NULL OR i.place <> plist.plist_place() OR i.run IS DISTINCT FROM plist.plist_run() THEN
        RAISE EXCEPTION 'it is not known yet whether this database has all writes of region %', own USING ERRCODE = 'cannot_connect_now';
    ELSIF i.state <> 'settled' THEN
        RAISE EXCEPTION 'region % is being rebuilt', own USING ERRCODE = 'cannot_connect_now';
    ELSIF plist.plist_key(i.region, i.generation) <> own_key THEN
        RAISE EXCEPTION 'region % counts its writes as %, no longer as %', own, plist.plist_key(i.region, i.generation), own_key
            USING ERRCODE = 'cannot_connect_now';
    END IF;
END $$;

-- Keeps what the others said. The latest counts: a region that has lost its database
-- says less than it did. The incarnation is that of the first database that was heard of
-- under this generation; it is NULL if only events of the generation are known.
CREATE OR REPLACE FUNCTION plist.plist_note_words(own TEXT) RETURNS VOID LANGUAGE sql VOLATILE AS $$
    INSERT INTO plist.known_regions AS k (region, incarnation, generation, outbox_id, id_base)
    SELECT h.region, (h.word -> 'identity' ->> 'incarnation')::uuid, (h.word -> 'identity' ->> 'generation')::bigint,
           (h.word -> 'identity' ->> 'high')::bigint, (h.word -> 'identity' ->> 'id_base')::bigint
    FROM plist.region_heartbeats AS h
    WHERE h.region <> own AND h.word -> 'identity' ->> 'state' IN ('settled', 'rebuilding')
    ON CONFLICT (region) DO UPDATE SET generation = greatest(k.generation, excluded.generation),
        incarnation = CASE WHEN excluded.generation > k.generation THEN excluded.incarnation
                           WHEN excluded.generation = k.generation THEN coalesce(k.incarnation, excluded.incarnation) ELSE k.incarnation END,
        outbox_id = CASE WHEN (excluded.generation, excluded.outbox_id) > (k.generation, k.outbox_id) THEN excluded.outbox_id ELSE k.outbox_id END,
        id_base = coalesce(excluded.id_base, k.id_base)
    WHERE (excluded.generation, excluded.outbox_id) > (k.generation, k.outbox_id) OR k.id_base IS NULL AND excluded.id_base IS NOT NULL
        OR excluded.generation = k.generation AND k.incarnation IS NULL;
    INSERT INTO plist.known_regions AS k (region, generation, outbox_id)
    SELECT DISTINCT ON (origin) origin, generation, outbox_id FROM plist.applied_sequences
    WHERE origin <> own AND generation > 0 ORDER BY origin, generation DESC, outbox_id DESC
    ON CONFLICT (region) DO UPDATE SET generation = excluded.generation, outbox_id = excluded.outbox_id,
        incarnation = CASE WHEN excluded.generation = k.generation THEN k.incarnation END
    WHERE (excluded.generation, excluded.outbox_id) > (k.generation, k.outbox_id);
$$;

-- What a heartbeat carries beside: who this is, up to which numbers its events are no
-- longer kept, what it knows of the others, what it asks, and what it has published for
-- those who asked.
CREATE OR REPLACE FUNCTION plist.plist_word(own TEXT) RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'identity', jsonb_build_object('incarnation', i.incarnation, 'generation', i.generation, 'place', md5(plist.plist_place()),
            'state', CASE WHEN i.region = own AND i.place = plist.plist_place() THEN i.state ELSE 'new' END,
            'drained', i.drained, 'high', (SELECT coalesce(max(floor_id), 0) FROM plist.outbox_marks), 'id_base', (SELECT id_base FROM plist.id_ranges WHERE region = own)),
        'base', coalesce((SELECT published FROM plist.outbox_marks WHERE deleted ORDER BY id DESC LIMIT 1), '{}'),
        'known', coalesce((SELECT jsonb_object_agg(region, jsonb_strip_nulls(jsonb_build_object('generation', generation,
            'outbox_id', outbox_id, 'id_base', id_base, 'incarnation', incarnation))) FROM plist.known_regions), '{}'),
        'asks', coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'of', of_region, 'since', written_since) ORDER BY asked_at)
            FROM plist.asks WHERE done_at IS NULL), '[]'),
        'served', coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'from', published_from, 'to', published_to, 'records', records,
            'total', total) ORDER BY begun_at) FROM plist.served_asks WHERE done_at IS NULL OR done_at > now() - interval '10 minutes'), '[]'))
    FROM plist.identity AS i;
$$;

-- Whether a region's events with numbers behind `from_numbers` up to `to_numbers` are
-- here.
CREATE OR REPLACE FUNCTION plist.plist_has_received(of_origin TEXT, from_numbers JSONB, to_numbers JSONB) RETURNS BOOLEAN LANGUAGE sql STABLE AS $$
    SELECT coalesce(bool_and(s.seq >= e.upto OR s.chain_to >= e.upto AND s.chain_from <= e.behind), true)
    FROM (SELECT t.topic, (p.n - 1)::int AS partition, coalesce(substring(p.number FROM '^[0-9]{1,18}')::bigint, 0) AS upto,
                 coalesce(substring(split_part(from_numbers ->> t.topic, ',', p.n::int) FROM '^[0-9]{1,18}')::bigint, 0) AS behind
          FROM jsonb_each_text(to_numbers) AS t(topic, numbers), string_to_table(t.numbers, ',') WITH ORDINALITY AS p(number, n)) AS e
    LEFT JOIN plist.applied_sequences AS s ON s.origin = of_origin AND s.topic = e.topic AND s.partition = e.partition
    WHERE e.upto > e.behind;
$$;

-- Takes what others have published for this region's asks. Those whose events have all
-- arrived are done; what was missing before them is here now, whatever way it came.
CREATE OR REPLACE FUNCTION plist.plist_take_served() RETURNS VOID LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    a record;
BEGIN
    FOR a IN SELECT k.id, k.of_region, s.value AS served FROM plist.asks AS k JOIN plist.region_heartbeats AS h ON h.region = k.of_region
             CROSS JOIN LATERAL jsonb_array_elements(h.word -> 'served') AS s(value)
             WHERE k.done_at IS NULL AND s.value ->> 'id' = k.id LOOP
        UPDATE plist.asks SET records = (a.served ->> 'records')::bigint, total = (a.served ->> 'total')::bigint
        WHERE id = a.id AND (records, total) IS DISTINCT FROM ((a.served ->> 'records')::bigint, (a.served ->> 'total')::bigint);
        CONTINUE WHEN coalesce(jsonb_typeof(a.served -> 'to'), 'null') = 'null'
            OR NOT plist.plist_has_received(a.of_region, a.served -> 'from', a.served -> 'to');
        UPDATE plist.asks SET done_at = clock_timestamp() WHERE id = a.id;
        UPDATE plist.applied_sequences AS s SET seq = greatest(s.seq, s.chain_to, e.upto), chain_from = 0, chain_to = 0, level = false
        FROM (SELECT t.topic, (p.n - 1)::int AS partition, coalesce(substring(p.number FROM '^[0-9]{1,18}')::bigint, 0) AS upto
              FROM jsonb_each_text(a.served -> 'to') AS t(topic, numbers), string_to_table(t.numbers, ',') WITH ORDINALITY AS p(number, n)) AS e
        WHERE s.origin = a.of_region AND s.topic = e.topic AND s.partition = e.partition;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION plist.plist_ask(regions TEXT[], why TEXT, since TIMESTAMPTZ) RETURNS VOID LANGUAGE sql VOLATILE AS $$
    INSERT INTO plist.asks (id, of_region, purpose, written_since)
    SELECT gen_random_uuid()::text, r, why, since FROM unnest(regions) AS r
    WHERE NOT EXISTS (SELECT FROM plist.asks AS a WHERE a.of_region = r AND a.done_at IS NULL);
$$;

-- Whether other regions know more of this one than its database does, or know another
-- database under the same key. The second is how a life is noticed that was so short
-- that the others had not heard of it when this one asked them.
CREATE OR REPLACE FUNCTION plist.plist_had_another_life(own TEXT, own_generation BIGINT, own_incarnation UUID, others TEXT[])
    RETURNS BOOLEAN LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM plist.region_heartbeats AS h, LATERAL (SELECT h.word -> 'known' -> own) AS k(known),
            LATERAL (SELECT coalesce((known ->> 'generation')::bigint, 0), coalesce((known ->> 'outbox_id')::bigint, 0),
                            (known ->> 'incarnation')::uuid) AS of_it(generation, outbox_id, incarnation)
        WHERE h.region = ANY (others) AND ((of_it.generation, of_it.outbox_id) > (own_generation, plist.plist_outbox_high())
            OR of_it.generation = own_generation AND of_it.incarnation <> own_incarnation));
$$;

-- Claims the database for the region, as what it is known to be. state: 'settled',
-- 'rebuilding', 'waiting' (for the others' word) or 'refused', with the reason.
--
-- started: since when the others' heartbeats count. waited: for how many seconds they
-- could have been heard. sure_high: the latest row of the outbox that this program has
-- seen before the server went away; NULL: it has seen none. alone: the operator says
-- that no other region knows more.
CREATE OR REPLACE FUNCTION plist.plist_settle(own TEXT, others TEXT[], started TIMESTAMPTZ, waited DOUBLE PRECISION, sure_high BIGINT,
                                              alone BOOLEAN, OUT state TEXT, OUT detail TEXT) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    i         plist.identity;
    twin      plist.region_heartbeats;
    place_now TEXT := plist.plist_place();
    run_now   TEXT := plist.plist_run();
    high      BIGINT := plist.plist_outbox_high();
    known     record;     -- the most that any other region knows of this one
    fresh     INTEGER;    -- how many of the others were heard since we began
    further   BOOLEAN;    -- others have published something
    lost      BOOLEAN;
    next      BIGINT;
BEGIN
    SELECT * INTO i FROM plist.identity FOR UPDATE;
    PERFORM plist.plist_note_words(own);
    IF i.region <> own THEN
        state := 'refused';
        detail := format('this database belongs to region %s: check regions.%s.database; for a copy that is to become region %s, empty it', i.region, own, own);
        RETURN;
    END IF;
    SELECT * INTO twin FROM plist.region_heartbeats AS h WHERE h.region = own AND h.heard_at > clock_timestamp() - interval '5 seconds'
        AND h.sent_at > started - interval '2 seconds' AND h.word -> 'identity' ->> 'state' IN ('settled', 'rebuilding')
        AND h.word -> 'identity' ->> 'place' <> md5(place_now);
    IF twin.region IS NOT NULL AND (i.place IS DISTINCT FROM place_now OR i.state = 'new'
        OR ((twin.word -> 'identity' ->> 'generation')::bigint, md5(place_now)) > (i.generation, twin.word -> 'identity' ->> 'place')) THEN
        state := 'refused';
        detail := format('region %s is served by another database (incarnation %s) at the same time: stop one of the two, or correct regions.%s.database',
                         own, twin.word -> 'identity' ->> 'incarnation', own);
        RETURN;
    END IF;
    SELECT coalesce((h.word -> 'known' -> own ->> 'generation')::bigint, 0) AS generation,
           coalesce((h.word -> 'known' -> own ->> 'outbox_id')::bigint, 0) AS outbox_id, (h.word -> 'known' -> own ->> 'id_base')::bigint AS id_base
        INTO known FROM plist.region_heartbeats AS h WHERE h.region = ANY (others) ORDER BY 1 DESC, 2 DESC LIMIT 1;
    SELECT count(*) INTO fresh FROM plist.region_heartbeats AS h WHERE h.region = ANY (others) AND h.heard_at > started
        AND h.sent_at > started - interval '2 seconds' AND h.word IS NOT NULL;
    lost := i.generation > 0 AND i.state <> 'new'
        AND (plist.plist_had_another_life(own, i.generation, i.incarnation, others) OR i.run IS DISTINCT FROM run_now AND coalesce(sure_high > high, false));
    IF i.place = place_now AND i.state <> 'new' AND NOT lost THEN
        IF i.run IS DISTINCT FROM run_now AND i.state = 'settled' THEN
            IF sure_high IS NULL AND fresh = 0 AND cardinality(others) > 0 AND waited < 3 AND NOT alone THEN
                state := 'waiting';
                detail := 'the database server was started anew; waiting for what the other regions know';
                RETURN;
            END IF;
            UPDATE plist.identity SET run = run_now;
        END IF;
        state := i.state;
        RETURN;
    END IF;
    -- A database that is new, is elsewhere, or has lost something: it counts under a
    -- new key.
    IF cardinality(others) > 0 AND NOT alone AND NOT lost
        AND (fresh = 0 AND waited < 10 OR fresh BETWEEN 1 AND cardinality(others) - 1 AND waited < 3) THEN
        state := 'waiting';
        detail := 'the database is new, or was restored or moved; waiting for what the other regions know of it '
                  || '(if there are none yet: plistd --alone)';
        RETURN;
    END IF;
    SELECT coalesce(bool_or((h.word -> 'identity' ->> 'high')::bigint > 0), false) INTO further
        FROM plist.region_heartbeats AS h WHERE h.region = ANY (others) AND h.heard_at > started;
    next := greatest(i.generation, coalesce(known.generation, 0)) + 1;
    IF fresh = 0 AND cardinality(others) > 0 AND NOT alone THEN -- nobody can say: a key that nobody can have had
        next := greatest(next, extract(epoch FROM clock_timestamp())::bigint);
    END IF;
    further := fresh > 0 AND (further OR coalesce(known.generation, 0) > 0) AND NOT alone;
    DELETE FROM plist.asks;
    UPDATE plist.identity AS d SET incarnation = CASE WHEN i.generation = 0 AND i.place IS NULL THEN d.incarnation ELSE gen_random_uuid() END,
        region = own, generation = next, place = place_now, run = run_now, state = CASE WHEN further THEN 'rebuilding' ELSE 'settled' END, since = now();
    IF known.id_base IS NOT NULL THEN
        INSERT INTO plist.id_ranges (region, id_base) VALUES (own, known.id_base) ON CONFLICT DO NOTHING;
    END IF;
    IF further THEN
        PERFORM plist.plist_ask(ARRAY (SELECT h.region FROM plist.region_heartbeats AS h WHERE h.region = ANY (others) AND h.heard_at > started), 'rebuild', NULL);
    END IF;
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user
        AND application_name IN (format('plist %s write', own), format('plist %s serial', own),
                                 format('plistd %s relay', own)); -- whose events say under which key they count
    state := CASE WHEN further THEN 'rebuilding' ELSE 'settled' END;
    detail := CASE WHEN next > 1 THEN format('from now on this region counts its writes as %s', plist.plist_key(own, next)) END;
END $$;

-- Ends a rebuilding when everything that was asked for is here and the others know the
-- new key. Returns what is still missing; NULL: nothing, the region is whole.
CREATE OR REPLACE FUNCTION plist.plist_rebuilt(own TEXT, VARIADIC sequences TEXT[]) RETURNS TEXT LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    i      plist.identity;
    left_over TEXT;
    name   TEXT;
BEGIN
    SELECT * INTO i FROM plist.identity FOR UPDATE;
    PERFORM plist.plist_take_served();
    SELECT string_agg(format('%s has published %s of %s records', of_region, records, coalesce(total::text, '?')), '; ') INTO left_over
        FROM plist.asks WHERE purpose = 'rebuild' AND done_at IS NULL;
    IF left_over IS NOT NULL OR i.state <> 'rebuilding' THEN
        RETURN left_over;
    END IF;
    SELECT string_agg(format('%s has not heard yet that the key is %s', h.region, plist.plist_key(own, i.generation)), '; ') INTO left_over
        FROM plist.region_heartbeats AS h JOIN plist.asks AS a ON a.of_region = h.region AND a.purpose = 'rebuild'
        WHERE coalesce((h.word -> 'known' -> own ->> 'generation')::bigint, 0) < i.generation;
    IF left_over IS NOT NULL THEN
        RETURN left_over;
    ELSIF plist.plist_had_another_life(own, i.generation, i.incarnation, ARRAY (SELECT of_region FROM plist.asks)) THEN
        RETURN format('other regions know writes of %s under the key %s that this database has never made; it gets another key',
                      own, plist.plist_key(own, i.generation));
    END IF;
    -- Ids that were given out and that nobody has heard of are passed over.
    FOREACH name IN ARRAY sequences LOOP
        CONTINUE WHEN to_regclass(name) IS NULL;
        PERFORM setval(to_regclass(name), nextval(to_regclass(name)) + 10000);
    END LOOP;
    UPDATE plist.identity SET state = 'settled', run = plist.plist_run(), since = now();
    RETURN NULL;
END $$;
