-- Events stay in the outbox until every other region has applied them. Kafka's offsets cannot say what was applied: a broker that has lost its
-- disk, and a topic that was deleted, count from 0 again. So the relay numbers what it publishes, and each region keeps how far it has received.

-- The next sequence number of this region, reserved in blocks: no number is given to two messages.
CREATE TABLE IF NOT EXISTS plist.outbox_sequence (
    one  BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    next BIGINT  NOT NULL CHECK (next > 0)
);
INSERT INTO plist.outbox_sequence (next) VALUES (1) ON CONFLICT DO NOTHING;

-- A mark: every row of the outbox up to floor_id was acknowledged by the broker, with sequence numbers up to `published`.
CREATE TABLE IF NOT EXISTS plist.outbox_marks (
    id         BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    floor_id   BIGINT      NOT NULL,
    published  JSONB       NOT NULL CHECK (jsonb_typeof(published) = 'object'),  -- {topic: "sequence number of partition 0,of partition 1,…"}
    rows_total BIGINT      NOT NULL DEFAULT 0,        -- how many rows were acknowledged up to it, ever
    made_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    deleted    BOOLEAN     NOT NULL DEFAULT false     -- the rows up to it were deleted
);

-- How far this region has received the messages of each other region. Everything up to `seq` is in this database. Where messages are missing
-- behind it, (chain_from, chain_to] is what was received since.
CREATE TABLE IF NOT EXISTS plist.applied_sequences (
    origin     TEXT        NOT NULL,
    topic      TEXT        NOT NULL,
    partition  INTEGER     NOT NULL,
    seq        BIGINT      NOT NULL CHECK (seq >= 0),
    chain_from BIGINT      NOT NULL DEFAULT 0,
    chain_to   BIGINT      NOT NULL DEFAULT 0,        -- 0: nothing is missing in between
    level      BOOLEAN     NOT NULL DEFAULT false,    -- the partition was read to its end, and the origin has published more than `seq`
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (origin, topic, partition)
) WITH (fillfactor = 50);

ALTER TABLE plist.region_heartbeats
    ADD COLUMN IF NOT EXISTS published JSONB,           -- the newest acknowledged sequence numbers: {topic: "…,…"}
    ADD COLUMN IF NOT EXISTS applied   JSONB;           -- how far that region has received each origin's: {origin: {topic: "…,…"}}

-- How many events the broker has not acknowledged. The relay marks what it has at the latest a second later.
CREATE OR REPLACE FUNCTION plist.plist_outbox_unpublished() RETURNS BIGINT LANGUAGE sql STABLE AS $$
    SELECT (SELECT count(*) FROM plist.outbox WHERE id > coalesce((SELECT max(floor_id) FROM plist.outbox_marks), 0))
         + (SELECT count(*) FROM plist.outbox WHERE refused_at IS NOT NULL AND id <= coalesce((SELECT max(floor_id) FROM plist.outbox_marks), 0));
$$;

-- After a repair: this region has all that `of_origin` has published so far, whatever way it came.
CREATE OR REPLACE FUNCTION plist.plist_sequences_repaired(of_origin TEXT) RETURNS VOID LANGUAGE sql VOLATILE AS $$
    INSERT INTO plist.applied_sequences AS s (origin, topic, partition, seq)
    SELECT h.region, t.topic, p.n - 1, substring(p.number FROM '^[0-9]+')::bigint
    FROM plist.region_heartbeats h, jsonb_each_text(h.published) AS t(topic, numbers),
         string_to_table(t.numbers, ',') WITH ORDINALITY AS p(number, n)
    WHERE h.region = of_origin AND p.number ~ '^[0-9]{1,18}'
    ON CONFLICT (origin, topic, partition) DO UPDATE SET seq = greatest(s.seq, s.chain_to, excluded.seq), chain_from = 0, chain_to = 0, level = false;
    UPDATE plist.applied_sequences SET seq = chain_to, chain_from = 0, chain_to = 0, level = false WHERE origin = of_origin AND chain_to > seq;
$$;
