-- Events that could be read and that this database does not take: a constraint or a trigger of a table refuses the row, somebody holds it locked.
-- Kept whole; other records go on. Each is tried again by itself, and is gone when it has been applied or when a later write of its
-- record covers it.
CREATE TABLE parked_events (
    id              BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource        TEXT        NOT NULL,
    record_id       BIGINT      NOT NULL,
    origin          TEXT        NOT NULL,
    counter         INTEGER     NOT NULL,          -- the event's dot; 0 for an event of another producer, which has none
    topic           TEXT        NOT NULL,
    partition       INTEGER     NOT NULL,
    kafka_offset    BIGINT      NOT NULL,
    broker_time     TIMESTAMPTZ,
    key             BYTEA,
    value           BYTEA,
    headers         JSONB       NOT NULL DEFAULT '[]',  -- [{"name": …, "value": …}] in their order; "hex" instead of "value" where it is not text
    reason          TEXT        NOT NULL,
    sqlstate        TEXT,
    constraint_name TEXT,
    column_name     TEXT,
    tries           INTEGER     NOT NULL DEFAULT 1,
    parked_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    tried_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    retry_at        TIMESTAMPTZ NOT NULL,
    UNIQUE (topic, partition, kafka_offset)
);
CREATE INDEX parked_events_by_record ON parked_events (resource, record_id);
CREATE INDEX parked_events_due ON parked_events (retry_at);

CREATE INDEX dead_letters_by_time ON dead_letters (received_at);

-- Of a write by which an operator put a record right: the counts that it replaced by lower ones. The event carries them.
ALTER TABLE outbox ADD COLUMN reset JSONB;

INSERT INTO plist_migrations (number, name, sha256) VALUES (5, '005_parked_events.sql', '');  -- the hash is plist-admin's to fill in
