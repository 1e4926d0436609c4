-- Republishing: a region puts what it holds into its outbox again, for regions that lack
-- it.

-- The region that republished the event ("us"), or that and "; request" for an event that
-- teaches a remembered request alone; NULL for an
-- ordinary write. It travels as the header plist-republished.
ALTER TABLE plist.outbox ADD COLUMN IF NOT EXISTS republished TEXT;

-- How far each `plist-admin republish` is, so that an interrupted one goes on where it
-- was.
CREATE TABLE IF NOT EXISTS plist.republications (
    id               BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource         TEXT        NOT NULL,
    selection        TEXT        NOT NULL,                       -- which records: "all", "range 1..500", …
    after_id         BIGINT      NOT NULL DEFAULT -9223372036854775808,  -- records up to this id are in the outbox
    rows_done        BOOLEAN     NOT NULL DEFAULT false,         -- all records are; requests come behind them
    after_request_id TEXT        NOT NULL DEFAULT '',
    after_principal  TEXT        NOT NULL DEFAULT '',
    records          BIGINT      NOT NULL DEFAULT 0,
    requests         BIGINT      NOT NULL DEFAULT 0,
    started_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at         TIMESTAMPTZ
);
CREATE UNIQUE INDEX IF NOT EXISTS republications_unfinished ON plist.republications (resource, selection) WHERE ended_at IS NULL;

-- Records with equal vectors and different contents that an operator put right: which
-- region's copy was taken, by whom and why. The write
-- itself is an ordinary one, with its own request id and event; this is the note beside
-- it.
CREATE TABLE IF NOT EXISTS plist.repairs (
    id          BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource    TEXT        NOT NULL,
    record_id   BIGINT      NOT NULL,
    taken_from  TEXT        NOT NULL,
    copies      JSONB       NOT NULL,          -- of every region, as they were
    request_id  TEXT        NOT NULL,
    repaired_by TEXT        NOT NULL,
    reason      TEXT        NOT NULL,
    repaired_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS repairs_by_record ON plist.repairs (resource, record_id);
