-- A second database of a region, started while the right one happens to be silent.
--
-- A restored database and a copy look alike: both have the region's identity at another
-- place. A copy that listens while the right database is only being restarted hears
-- nobody. But the other regions know which database served the region last, at which
-- address its daemon reached it, and how long ago that was. They say so to whoever asks,
-- and plist_settle judges by it; heal/heal_settle says how and why.

ALTER TABLE plist.identity
    ADD COLUMN IF NOT EXISTS takes_over BOOLEAN NOT NULL DEFAULT false; -- the operator says that its predecessor is gone
-- The run tells two servers with the same database from each other, such as a base backup
-- that was started beside the server that it was taken from: their places are equal.
ALTER TABLE plist.heard_databases
    ADD COLUMN IF NOT EXISTS run       TEXT    NOT NULL DEFAULT '',    -- as plist_run says it; '': not said
    ADD COLUMN IF NOT EXISTS address   TEXT    NOT NULL DEFAULT '',    -- where its daemon reached it, hashed; '': not said
    ADD COLUMN IF NOT EXISTS drained   BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS served_at TIMESTAMPTZ;                    -- when it was last heard as the one that serves its region
ALTER TABLE plist.heard_databases DROP CONSTRAINT IF EXISTS heard_databases_pkey;
ALTER TABLE plist.heard_databases ADD PRIMARY KEY (region, place, run);

-- Whether a database that was heard is this one, in its present run.
CREATE OR REPLACE FUNCTION plist.plist_is_here(of_place TEXT, of_run TEXT) RETURNS BOOLEAN LANGUAGE sql STABLE AS $$
    SELECT of_place = md5(plist.plist_place()) AND of_run IN ('', plist.plist_run());
$$;

-- As in 022, for databases that have the same place, too.
CREATE OR REPLACE FUNCTION plist.plist_hear(own TEXT, of_region TEXT, said_at TIMESTAMPTZ, events BIGINT, oldest_at TIMESTAMPTZ, its_policies JSONB,
                                            has_published JSONB, has_applied JSONB, its_word JSONB, its_fields JSONB, silence DOUBLE PRECISION)
    RETURNS VOID LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    its_identity JSONB := its_word -> 'identity';
    of_place     TEXT := its_identity ->> 'place';
    of_run       TEXT := coalesce(its_identity ->> 'run', '');
    serves       BOOLEAN := coalesce(its_identity ->> 'state' IN ('settled', 'rebuilding'), false);
BEGIN
    IF of_place IS NOT NULL THEN
        UPDATE plist.heard_databases SET incarnation = (its_identity ->> 'incarnation')::uuid, generation = (its_identity ->> 'generation')::bigint,
            state = its_identity ->> 'state', question = (its_identity ->> 'question')::uuid, answers = its_word -> 'answers' -> own,
            heard_at = clock_timestamp(), address = coalesce(its_identity ->> 'address', ''), drained = coalesce((its_identity ->> 'drained')::boolean, false),
            served_at = CASE WHEN serves THEN clock_timestamp() ELSE served_at END
        WHERE region = of_region AND place = of_place AND run = of_run;
        IF NOT FOUND THEN
            INSERT INTO plist.heard_databases (region, place, run, incarnation, generation, state, question, answers, heard_at, address, drained, served_at)
            VALUES (of_region, of_place, of_run, (its_identity ->> 'incarnation')::uuid, (its_identity ->> 'generation')::bigint, its_identity ->> 'state',
                    (its_identity ->> 'question')::uuid, its_word -> 'answers' -> own, clock_timestamp(), coalesce(its_identity ->> 'address', ''),
                    coalesce((its_identity ->> 'drained')::boolean, false), CASE WHEN serves THEN clock_timestamp() END)
            ON CONFLICT DO NOTHING;
            DELETE FROM plist.heard_databases WHERE region = of_region AND (place, run) NOT IN (
                SELECT d.place, d.run FROM plist.heard_databases AS d WHERE d.region = of_region ORDER BY greatest(d.served_at, d.heard_at) DESC LIMIT 16);
        END IF;
        IF of_region = own AND NOT plist.plist_is_here(of_place, of_run)
            OR of_region <> own AND its_identity ->> 'state' = 'new' AND EXISTS (SELECT FROM plist.heard_databases AS d WHERE d.region = of_region
                AND (d.place, d.run) <> (of_place, of_run) AND d.state <> 'new' AND d.heard_at > clock_timestamp() - make_interval(secs => silence)) THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO plist.region_heartbeats AS h (region, sent_at, heard_at, outbox_events, outbox_oldest_at, policies, published, applied, word, fields)
    VALUES (of_region, said_at, now(), events, oldest_at, its_policies, has_published, has_applied, its_word, its_fields)
    ON CONFLICT (region) DO UPDATE SET sent_at = excluded.sent_at, heard_at = excluded.heard_at, outbox_events = excluded.outbox_events,
        outbox_oldest_at = excluded.outbox_oldest_at, policies = excluded.policies, published = excluded.published, applied = excluded.applied,
        word = excluded.word, fields = excluded.fields;
END $$;

-- As in 022, with the run and the address (`here`), and for a region that asks, which of
-- its databases served it when. In a run in which it was not accepted yet, a database
-- does not say that it serves. And what was served is named for as long as somebody asks
-- for it, since a region may have been away for longer than the ten minutes, and it is
-- not served twice.
DROP FUNCTION IF EXISTS plist.plist_word(TEXT);
CREATE OR REPLACE FUNCTION plist.plist_word(own TEXT, here TEXT DEFAULT '') RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'identity', jsonb_build_object('incarnation', i.incarnation, 'generation', i.generation, 'place', md5(plist.plist_place()),
            'run', plist.plist_run(), 'address', here,
            'state', CASE WHEN i.region = own AND i.place = plist.plist_place() AND i.run = plist.plist_run() THEN i.state ELSE 'new' END, 'question', i.question,
            'drained', i.drained, 'high', (SELECT coalesce(max(floor_id), 0) FROM plist.outbox_marks), 'id_base', (SELECT id_base FROM plist.id_ranges WHERE region = own)),
        'base', coalesce((SELECT published FROM plist.outbox_marks WHERE deleted ORDER BY id DESC LIMIT 1), '{}'),
        'known', coalesce((SELECT jsonb_object_agg(region, jsonb_strip_nulls(jsonb_build_object('generation', k.generation,
            'outbox_id', k.outbox_id, 'id_base', r.id_base, 'incarnation', CASE WHEN r.generation = k.generation THEN r.incarnation END)))
            FROM (SELECT DISTINCT ON (region) region, generation, outbox_id FROM (SELECT region, generation, outbox_id FROM plist.known_regions
                  UNION ALL SELECT origin, generation, outbox_id FROM plist.applied_sequences WHERE origin <> own AND generation > 0) AS a
                  ORDER BY region, generation DESC, outbox_id DESC) AS k LEFT JOIN plist.known_regions AS r USING (region)), '{}'),
        'answers', coalesce((SELECT jsonb_object_agg(region, questions) FROM (SELECT region, jsonb_agg(question) AS questions FROM plist.heard_databases
            WHERE question IS NOT NULL AND heard_at > clock_timestamp() - interval '10 seconds'
            AND NOT (region = own AND plist.plist_is_here(place, run)) GROUP BY region) AS q), '{}'),
        'heard', coalesce((SELECT jsonb_object_agg(asking.region, served.by) FROM (SELECT DISTINCT region FROM plist.heard_databases
            WHERE region <> own AND question IS NOT NULL AND heard_at > clock_timestamp() - interval '10 seconds') AS asking,
            LATERAL (SELECT jsonb_agg(jsonb_build_object('place', d.place, 'run', d.run, 'address', d.address, 'drained', d.drained,
                'incarnation', d.incarnation, 'generation', d.generation, 'ago', greatest(floor(extract(epoch FROM clock_timestamp() - d.served_at))::bigint, 0))) AS by
                FROM (SELECT * FROM plist.heard_databases AS a WHERE a.region = asking.region AND a.served_at IS NOT NULL
                      ORDER BY a.generation DESC, a.served_at DESC LIMIT 4) AS d) AS served WHERE served.by IS NOT NULL), '{}'),
        'asks', coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'of', of_region, 'since', written_since) ORDER BY asked_at)
            FROM plist.asks WHERE done_at IS NULL), '[]'),
        'served', coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'from', published_from, 'to', published_to, 'records', records,
            'total', total) ORDER BY begun_at) FROM plist.served_asks AS s WHERE done_at IS NULL OR done_at > now() - interval '10 minutes'
            OR EXISTS (SELECT FROM plist.region_heartbeats AS h WHERE h.region = s.for_region
                       AND h.word -> 'asks' @> jsonb_build_array(jsonb_build_object('id', s.id)))), '[]'))
    FROM plist.identity AS i;
$$;

-- The databases that served the region `own`, as this one and the other regions have
-- heard them, and for how many seconds each has been silent.
CREATE OR REPLACE FUNCTION plist.plist_served(own TEXT) RETURNS TABLE (place TEXT, run TEXT, address TEXT, drained BOOLEAN, incarnation UUID, generation BIGINT,
                                                                       heard_by TEXT, ago DOUBLE PRECISION) LANGUAGE sql STABLE AS $$
    SELECT d ->> 'place', d ->> 'run', d ->> 'address', (d ->> 'drained')::boolean, (d ->> 'incarnation')::uuid, (d ->> 'generation')::bigint, h.region,
           (d ->> 'ago')::bigint + greatest(extract(epoch FROM clock_timestamp() - h.heard_at), 0)
    FROM plist.region_heartbeats AS h, jsonb_array_elements(h.word -> 'heard' -> own) AS d WHERE h.region <> own
    UNION ALL
    SELECT h.place, h.run, h.address, h.drained, h.incarnation, h.generation, own, greatest(extract(epoch FROM clock_timestamp() - h.served_at), 0)
    FROM plist.heard_databases AS h WHERE h.region = own AND h.served_at IS NOT NULL;
$$;

-- The predecessor that this database has to wait for; NULL: none. It is the one with the
-- latest key, unless that is this one, was at the address that this one has now, or was
-- drained, which says that it may go. The one that was heard last may be one that was
-- left behind: it says that it serves until it has asked the others. here: the address.
CREATE OR REPLACE FUNCTION plist.plist_predecessor(own TEXT, here TEXT, OUT incarnation UUID, OUT heard_by TEXT, OUT ago DOUBLE PRECISION) LANGUAGE sql STABLE AS $$
    SELECT s.incarnation, s.heard_by, s.ago FROM (SELECT * FROM plist.plist_served(own) AS d ORDER BY d.generation DESC, d.ago LIMIT 1) AS s
    WHERE s.place <> md5(plist.plist_place()) AND (s.address <> here OR here = '') AND NOT s.drained;
$$;

-- The other databases that speak for the region `own` now: their incarnations. One with
-- the same place may be this one before its server was started anew; it counts once it
-- quotes a question of this run.
CREATE OR REPLACE FUNCTION plist.plist_beside(own TEXT) RETURNS SETOF UUID LANGUAGE sql STABLE AS $$
    SELECT d.incarnation FROM plist.heard_databases AS d, plist.identity AS i
    WHERE d.region = own AND d.heard_at > clock_timestamp() - interval '10 seconds' AND NOT plist.plist_is_here(d.place, d.run)
        AND (d.place <> md5(plist.plist_place()) OR coalesce(d.answers ? i.question::text, false));
$$;

-- The timeline (1) or the time of the start (2) in what plist_run says; 0: neither is
-- in it.
CREATE OR REPLACE FUNCTION plist.plist_run_part(run TEXT, part INTEGER) RETURNS NUMERIC LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(substring(split_part(run, ' ', part) FROM '^[0-9]{1,12}(?:\.[0-9]{1,9})?$')::numeric, 0);
$$;

-- As in 022; of two servers with the same place, the one whose timeline is later is the
-- primary, and otherwise the one that was started first. vetted: this run was accepted.
DROP FUNCTION IF EXISTS plist.plist_rival(TEXT, BOOLEAN, DOUBLE PRECISION);
CREATE OR REPLACE FUNCTION plist.plist_rival(own TEXT, accepted BOOLEAN, vetted BOOLEAN, silence DOUBLE PRECISION) RETURNS UUID LANGUAGE sql STABLE AS $$
    SELECT d.incarnation FROM plist.identity AS i, plist.heard_databases AS d, plist.plist_run() AS now(run)
    WHERE d.region = own AND NOT plist.plist_is_here(d.place, d.run) AND d.state IN ('settled', 'rebuilding')
        AND d.heard_at > clock_timestamp() - make_interval(secs => silence)
        AND CASE WHEN accepted AND d.place <> md5(plist.plist_place()) THEN d.heard_at > i.since AND (d.generation, d.place) > (i.generation, md5(plist.plist_place()))
            WHEN NOT coalesce(d.answers ? i.question::text, false) THEN false
            WHEN vetted THEN (d.generation, plist.plist_run_part(d.run, 1), plist.plist_run_part(now.run, 2))
                           > (i.generation, plist.plist_run_part(now.run, 1), plist.plist_run_part(d.run, 2))
            ELSE true END
    ORDER BY d.generation DESC, d.place DESC LIMIT 1;
$$;

-- As in 022; a database that may be a copy waits for its predecessor, too, and a server
-- that may be one of two listens for the other.
--
-- here: the address at which the daemon reaches the database, hashed. replaced: for how
-- many seconds a predecessor at another address must have been silent.
DROP FUNCTION IF EXISTS plist.plist_settle(TEXT, TEXT[], DOUBLE PRECISION, DOUBLE PRECISION, DOUBLE PRECISION, BIGINT, BOOLEAN, BOOLEAN);
CREATE OR REPLACE FUNCTION plist.plist_settle(own TEXT, others TEXT[], waited DOUBLE PRECISION, listen DOUBLE PRECISION, silence DOUBLE PRECISION,
                                              sure_high BIGINT, alone BOOLEAN, again BOOLEAN, here TEXT DEFAULT '', replaced DOUBLE PRECISION DEFAULT 0,
                                              OUT state TEXT, OUT detail TEXT) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    i         plist.identity;
    rival     UUID;       -- the incarnation of another database of the region
    place_now TEXT := plist.plist_place();
    run_now   TEXT := plist.plist_run();
    accepted  BOOLEAN;
    vetted    BOOLEAN;    -- and in this run
    asks      BOOLEAN := cardinality(others) > 0 AND NOT alone;
    answered  TEXT[];     -- those of the others that have
    listening BOOLEAN;    -- the question came back too recently for another database's answer to be here
    known     record;     -- the most that any other region knows of this one
    former    record;     -- the predecessor
    further   BOOLEAN;    -- others have published something
    next      BIGINT;
BEGIN
    SELECT * INTO i FROM plist.identity FOR UPDATE;
    PERFORM plist.plist_note_words(own);
    IF i.region <> own THEN
        state := 'refused';
        detail := format('this database belongs to region %s: check regions.%s.database; for a copy that is to become region %s, empty it', i.region, own, own);
        RETURN;
    END IF;
    accepted := coalesce(i.place = place_now, false) AND i.state <> 'new';
    IF accepted AND (plist.plist_had_another_life(own, i.generation, i.incarnation, others)
                     OR i.run IS DISTINCT FROM run_now AND coalesce(sure_high > plist.plist_outbox_high(), false)) THEN
        -- From here on it is like one that was restored.
        UPDATE plist.identity SET place = 'other regions know more', question = NULL;
        accepted := false;
    END IF;
    vetted := accepted AND i.run IS NOT DISTINCT FROM run_now AND NOT EXISTS (SELECT FROM plist.heard_databases AS d WHERE d.region = own
        AND d.place = md5(place_now) AND NOT plist.plist_is_here(d.place, d.run) AND d.heard_at > clock_timestamp() - interval '10 seconds');
    IF NOT vetted THEN
        PERFORM plist.plist_question(own);
    END IF;
    SELECT * INTO i FROM plist.identity;
    rival := plist.plist_rival(own, accepted, accepted AND i.run IS NOT DISTINCT FROM run_now, silence);
    IF rival IS NULL AND again AND i.place = 'another database serves the region' AND NOT i.takes_over THEN
        SELECT d.incarnation INTO rival FROM plist.heard_databases AS d WHERE d.region = own AND NOT plist.plist_is_here(d.place, d.run)
            ORDER BY d.state = 'new', d.heard_at DESC LIMIT 1;
    END IF;
    IF rival IS NOT NULL THEN
        UPDATE plist.identity SET place = 'another database serves the region' WHERE place IS DISTINCT FROM 'another database serves the region';
        state := 'refused';
        detail := format('region %s is served by another database (incarnation %s) at the same time: correct regions.%s.database, or stop the '
                         || 'other one and start this daemon again',
                         own, rival, own);
        RETURN;
    END IF;
    answered := ARRAY (SELECT h.region FROM plist.region_heartbeats AS h WHERE h.region = ANY (others) AND h.word -> 'answers' -> own ? i.question::text);
    listening := coalesce(i.question_heard_at > clock_timestamp() - make_interval(secs => listen), true);
    IF accepted THEN
        IF i.run IS DISTINCT FROM run_now AND i.state = 'settled' THEN
            IF sure_high IS NULL AND asks AND (cardinality(answered) = 0 AND waited < 3
                OR listening AND waited < 10 AND EXISTS (SELECT FROM plist.plist_served(own) AS s WHERE s.ago < silence AND s.run <> run_now
                    AND (s.address <> here OR here = ''))) THEN
                state := 'waiting';
                detail := 'the database server was started anew; waiting for what the other regions know';
                RETURN;
            END IF;
        END IF;
        UPDATE plist.identity SET run = run_now WHERE run IS DISTINCT FROM run_now;
        UPDATE plist.identity SET question = NULL WHERE question IS NOT NULL AND vetted;
        state := i.state;
        RETURN;
    END IF;
    -- A database that is new, is elsewhere, or has lost something: it counts under a
    -- new key.
    SELECT coalesce((h.word -> 'known' -> own ->> 'generation')::bigint, 0) AS generation, (h.word -> 'known' -> own ->> 'id_base')::bigint AS id_base
        INTO known FROM plist.region_heartbeats AS h WHERE h.region = ANY (others)
        ORDER BY 1 DESC, (h.word -> 'known' -> own ->> 'outbox_id')::bigint DESC NULLS LAST LIMIT 1;
    IF asks AND (cardinality(answered) = 0 AND waited < 10 OR cardinality(answered) < cardinality(others) AND waited < 3
                 OR waited < 10 AND (i.generation > 0 OR coalesce(known.generation, 0) > 0) AND listening) THEN
        state := 'waiting';
        detail := 'the database is new, or was restored or moved; waiting for what the other regions know of it '
                  || '(if there are none yet: plistd --alone)';
        RETURN;
    END IF;
    SELECT * INTO former FROM plist.plist_predecessor(own, here) AS p WHERE p.ago < replaced;
    IF asks AND NOT i.takes_over AND former.incarnation IS NOT NULL THEN
        state := 'waiting';
        detail := format('region %s was served by another database (incarnation %s) at another address, which may only be restarting: this one '
                         || 'takes its place when nobody has heard it for database.replace_after (%s), or, if it is gone for good, '
                         || 'after plist-admin region accept %s', own, former.incarnation, make_interval(secs => replaced), own);
        RETURN;
    END IF;
    further := asks AND cardinality(answered) > 0 AND (coalesce(known.generation, 0) > 0 OR EXISTS (
        SELECT FROM plist.region_heartbeats AS h WHERE h.region = ANY (answered) AND (h.word -> 'identity' ->> 'high')::bigint > 0));
    next := greatest(i.generation, coalesce(known.generation, 0)) + 1;
    IF asks AND cardinality(answered) = 0 THEN -- nobody can say: a key that nobody can have had
        next := greatest(next, extract(epoch FROM clock_timestamp())::bigint);
    END IF;
    DELETE FROM plist.asks;
    UPDATE plist.identity AS d SET incarnation = CASE WHEN i.generation = 0 AND i.place IS NULL THEN d.incarnation ELSE gen_random_uuid() END,
        region = own, generation = next, place = place_now, run = run_now, state = CASE WHEN further THEN 'rebuilding' ELSE 'settled' END,
        since = clock_timestamp(), question = NULL, takes_over = false;
    IF known.id_base IS NOT NULL THEN
        INSERT INTO plist.id_ranges (region, id_base) VALUES (own, known.id_base) ON CONFLICT DO NOTHING;
    END IF;
    IF further THEN
        PERFORM plist.plist_ask(answered, 'rebuild', NULL);
    END IF;
    IF asks AND (further OR next > 1) THEN -- from the others later, when they can be heard
        PERFORM plist.plist_ask(ARRAY (SELECT o FROM unnest(others) AS o WHERE o <> ALL (answered)), 'gap', NULL);
    END IF;
    state := CASE WHEN further THEN 'rebuilding' ELSE 'settled' END;
    detail := CASE WHEN next > 1 THEN format('from now on this region counts its writes as %s', plist.plist_key(own, next)) END;
END $$;
