-- Which applier of this region reads which partition of Kafka's topics. A daemon is a
-- member while the database session that its row names lives (apply/claims.c).

CREATE TABLE IF NOT EXISTS plist.apply_members (
    member        TEXT        PRIMARY KEY,
    lanes         INTEGER     NOT NULL CHECK (lanes > 0),      -- how many appliers it has
    pid           INTEGER     NOT NULL,
    backend_start TIMESTAMPTZ NOT NULL,
    hears         BOOLEAN     NOT NULL,                        -- whether a broker answers it
    topics        TEXT        NOT NULL,                        -- those that it reads: "one,another"
    sessions      INTEGER[]   NOT NULL,                        -- the processes that serve its appliers
    since         TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS plist.partition_claims (
    topic     TEXT        NOT NULL,
    partition INTEGER     NOT NULL CHECK (partition >= 0),
    member    TEXT        NOT NULL REFERENCES plist.apply_members ON DELETE CASCADE,
    lane      INTEGER     NOT NULL CHECK (lane >= 0),
    taken_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition)
);
