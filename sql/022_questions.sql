-- What a database asks before it serves its region, and of which databases it has heard.
--
-- A heartbeat says what its sender knew when it was sent, which may have been before the
-- question. So a database that does not know whether it is whole sends a question, a
-- number that nobody has used before, with its heartbeats, and believes those that quote
-- it. A backup may hold the question of an earlier time: so it is a new one for each
-- place and each run of the server. No clock of another machine is involved.

ALTER TABLE plist.identity
    ADD COLUMN IF NOT EXISTS question UUID,             -- NULL: nothing has to be asked
    ADD COLUMN IF NOT EXISTS asked_in TEXT,             -- the place and the run
    ADD COLUMN IF NOT EXISTS question_heard_at TIMESTAMPTZ; -- it came back: whoever listens has heard it, too

-- Every database that speaks for a region, this one included. There should be one of
-- each region; a copy, or one that was left behind, can speak for it beside.
CREATE TABLE IF NOT EXISTS plist.heard_databases (
    region      TEXT        NOT NULL,
    place       TEXT        NOT NULL,   -- md5 of plist_place()
    incarnation UUID        NOT NULL,
    generation  BIGINT      NOT NULL,
    state       TEXT        NOT NULL,   -- 'new': it has not been accepted as its region's
    question    UUID,
    answers     JSONB,                  -- the questions of this region that it quotes
    heard_at    TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (region, place)
) WITH (fillfactor = 50);

-- Keeps a heartbeat. That of a database that was not accepted does not hide the one of
-- the database that serves the region; silence: after how many seconds a database counts
-- as gone.
CREATE OR REPLACE FUNCTION plist.plist_hear(own TEXT, of_region TEXT, said_at TIMESTAMPTZ, events BIGINT, oldest_at TIMESTAMPTZ, its_policies JSONB,
                                            has_published JSONB, has_applied JSONB, its_word JSONB, its_fields JSONB, silence DOUBLE PRECISION)
    RETURNS VOID LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    its_identity JSONB := its_word -> 'identity';
    of_place     TEXT := its_identity ->> 'place';
BEGIN
    IF of_place IS NOT NULL THEN
        UPDATE plist.heard_databases SET incarnation = (its_identity ->> 'incarnation')::uuid, generation = (its_identity ->> 'generation')::bigint,
            state = its_identity ->> 'state', question = (its_identity ->> 'question')::uuid, answers = its_word -> 'answers' -> own, heard_at = clock_timestamp()
        WHERE region = of_region AND place = of_place;
        IF NOT FOUND THEN
            INSERT INTO plist.heard_databases (region, place, incarnation, generation, state, question, answers, heard_at)
            VALUES (of_region, of_place, (its_identity ->> 'incarnation')::uuid, (its_identity ->> 'generation')::bigint, its_identity ->> 'state',
                    (its_identity ->> 'question')::uuid, its_word -> 'answers' -> own, clock_timestamp())
            ON CONFLICT DO NOTHING;
            DELETE FROM plist.heard_databases WHERE region = of_region AND place NOT IN (
                SELECT d.place FROM plist.heard_databases AS d WHERE d.region = of_region ORDER BY d.heard_at DESC LIMIT 16);
        END IF;
        IF of_region = own AND of_place <> md5(plist.plist_place())
            OR of_region <> own AND its_identity ->> 'state' = 'new' AND EXISTS (SELECT FROM plist.heard_databases AS d WHERE d.region = of_region
                AND d.place <> of_place AND d.state <> 'new' AND d.heard_at > clock_timestamp() - make_interval(secs => silence)) THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO plist.region_heartbeats AS h (region, sent_at, heard_at, outbox_events, outbox_oldest_at, policies, published, applied, word, fields)
    VALUES (of_region, said_at, now(), events, oldest_at, its_policies, has_published, has_applied, its_word, its_fields)
    ON CONFLICT (region) DO UPDATE SET sent_at = excluded.sent_at, heard_at = excluded.heard_at, outbox_events = excluded.outbox_events,
        outbox_oldest_at = excluded.outbox_oldest_at, policies = excluded.policies, published = excluded.published, applied = excluded.applied,
        word = excluded.word, fields = excluded.fields;
END $$;

-- As in 014, with the question, the questions of others, and what has arrived since the
-- healing thread last looked: an answer must not know less than its region.
CREATE OR REPLACE FUNCTION plist.plist_word(own TEXT) RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'identity', jsonb_build_object('incarnation', i.incarnation, 'generation', i.generation, 'place', md5(plist.plist_place()),
            'state', CASE WHEN i.region = own AND i.place = plist.plist_place() THEN i.state ELSE 'new' END, 'question', i.question,
            'drained', i.drained, 'high', (SELECT coalesce(max(floor_id), 0) FROM plist.outbox_marks), 'id_base', (SELECT id_base FROM plist.id_ranges WHERE region = own)),
        'base', coalesce((SELECT published FROM plist.outbox_marks WHERE deleted ORDER BY id DESC LIMIT 1), '{}'),
        'known', coalesce((SELECT jsonb_object_agg(region, jsonb_strip_nulls(jsonb_build_object('generation', k.generation,
            'outbox_id', k.outbox_id, 'id_base', r.id_base, 'incarnation', CASE WHEN r.generation = k.generation THEN r.incarnation END)))
            FROM (SELECT DISTINCT ON (region) region, generation, outbox_id FROM (SELECT region, generation, outbox_id FROM plist.known_regions
                  UNION ALL SELECT origin, generation, outbox_id FROM plist.applied_sequences WHERE origin <> own AND generation > 0) AS a
                  ORDER BY region, generation DESC, outbox_id DESC) AS k LEFT JOIN plist.known_regions AS r USING (region)), '{}'),
        'answers', coalesce((SELECT jsonb_object_agg(region, questions) FROM (SELECT region, jsonb_agg(question) AS questions FROM plist.heard_databases
            WHERE question IS NOT NULL AND heard_at > clock_timestamp() - interval '10 seconds'
            AND NOT (region = own AND place = md5(plist.plist_place())) GROUP BY region) AS q), '{}'),
        'asks', coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'of', of_region, 'since', written_since) ORDER BY asked_at)
            FROM plist.asks WHERE done_at IS NULL), '[]'),
        'served', coalesce((SELECT jsonb_agg(jsonb_build_object('id', id, 'from', published_from, 'to', published_to, 'records', records,
            'total', total) ORDER BY begun_at) FROM plist.served_asks WHERE done_at IS NULL OR done_at > now() - interval '10 minutes'), '[]'))
    FROM plist.identity AS i;
$$;

-- The incarnation of another database that serves the region `own` now; NULL: none is
-- heard. A database that was accepted gives way to one with a later key, one that was
-- not to any that answers its question.
CREATE OR REPLACE FUNCTION plist.plist_rival(own TEXT, accepted BOOLEAN, silence DOUBLE PRECISION) RETURNS UUID LANGUAGE sql STABLE AS $$
    SELECT d.incarnation FROM plist.identity AS i, plist.heard_databases AS d
    WHERE d.region = own AND d.place <> md5(plist.plist_place()) AND d.state IN ('settled', 'rebuilding')
        AND d.heard_at > clock_timestamp() - make_interval(secs => silence)
        AND CASE WHEN accepted THEN d.heard_at > i.since AND (d.generation, d.place) > (i.generation, md5(plist.plist_place()))
            ELSE coalesce(d.answers ? i.question::text, false) END
    ORDER BY d.generation DESC, d.place DESC LIMIT 1;
$$;

-- Asks anew where the answers to the question are of an earlier place or run, and notes
-- that it has been heard.
CREATE OR REPLACE FUNCTION plist.plist_question(own TEXT) RETURNS VOID LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    here TEXT := concat_ws(' ', plist.plist_place(), plist.plist_run());
BEGIN
    UPDATE plist.identity SET question = gen_random_uuid(), asked_in = here, question_heard_at = NULL WHERE question IS NULL OR asked_in IS DISTINCT FROM here;
    UPDATE plist.identity AS i SET question_heard_at = clock_timestamp() FROM plist.heard_databases AS d
    WHERE i.question_heard_at IS NULL AND d.region = own AND d.place = md5(plist.plist_place()) AND d.question = i.question;
END $$;

-- As plist_settle in 014, which it replaces; answers count in place of times.
--
-- waited: for how many seconds others could have been heard. listen: for how many seconds
-- a database that had a life before listens whether another one serves its region;
-- silence: after how many seconds without a heartbeat that one counts as gone. again:
-- this program has asked before. Once refused, a database stays so until a program is
-- started for it: it must not take over while the other one is only being restarted.
DROP FUNCTION IF EXISTS plist.plist_settle(TEXT, TEXT[], TIMESTAMPTZ, DOUBLE PRECISION, BIGINT, BOOLEAN);
CREATE OR REPLACE FUNCTION plist.plist_settle(own TEXT, others TEXT[], waited DOUBLE PRECISION, listen DOUBLE PRECISION, silence DOUBLE PRECISION,
                                              sure_high BIGINT, alone BOOLEAN, again BOOLEAN, OUT state TEXT, OUT detail TEXT) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    i         plist.identity;
    rival     UUID;       -- the incarnation of another database of the region
    place_now TEXT := plist.plist_place();
    run_now   TEXT := plist.plist_run();
    accepted  BOOLEAN;
    asks      BOOLEAN := cardinality(others) > 0 AND NOT alone;
    answered  TEXT[];     -- those of the others that have
    known     record;     -- the most that any other region knows of this one
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
    IF NOT accepted OR i.run IS DISTINCT FROM run_now THEN
        PERFORM plist.plist_question(own);
    END IF;
    SELECT * INTO i FROM plist.identity;
    rival := plist.plist_rival(own, accepted, silence);
    IF rival IS NULL AND again AND i.place = 'another database serves the region' THEN
        SELECT d.incarnation INTO rival FROM plist.heard_databases AS d WHERE d.region = own AND d.place <> md5(place_now)
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
    IF accepted THEN
        IF i.run IS DISTINCT FROM run_now AND i.state = 'settled' THEN
            IF sure_high IS NULL AND asks AND cardinality(answered) = 0 AND waited < 3 THEN
                state := 'waiting';
                detail := 'the database server was started anew; waiting for what the other regions know';
                RETURN;
            END IF;
            UPDATE plist.identity SET run = run_now;
        END IF;
        UPDATE plist.identity SET question = NULL WHERE question IS NOT NULL AND run = run_now;
        state := i.state;
        RETURN;
    END IF;
    -- A database that is new, is elsewhere, or has lost something: it counts under a
    -- new key.
    SELECT coalesce((h.word -> 'known' -> own ->> 'generation')::bigint, 0) AS generation, (h.word -> 'known' -> own ->> 'id_base')::bigint AS id_base
        INTO known FROM plist.region_heartbeats AS h WHERE h.region = ANY (others)
        ORDER BY 1 DESC, (h.word -> 'known' -> own ->> 'outbox_id')::bigint DESC NULLS LAST LIMIT 1;
    IF asks AND (cardinality(answered) = 0 AND waited < 10 OR cardinality(answered) < cardinality(others) AND waited < 3
                 OR waited < 10 AND (i.generation > 0 OR coalesce(known.generation, 0) > 0)
                    AND coalesce(i.question_heard_at > clock_timestamp() - make_interval(secs => listen), true)) THEN
        state := 'waiting';
        detail := 'the database is new, or was restored or moved; waiting for what the other regions know of it '
                  || '(if there are none yet: plistd --alone)';
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
        since = clock_timestamp(), question = NULL;
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
