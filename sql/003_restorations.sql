-- Decisions that a person undid: who chose which of the concurrent writes instead, and why. The choice itself is an ordinary write, with its own
-- request id and event; this is the note beside it.
CREATE TABLE restorations (
    id          BIGINT       GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conflict_id BIGINT       NOT NULL,
    resource    VARCHAR(63)  NOT NULL,
    record_id   BIGINT       NOT NULL,
    taken       JSONB        NOT NULL,         -- the write that was chosen, as the conflict had recorded it
    request_id  VARCHAR(255) NOT NULL,         -- of the write that put it in force
    restored_by TEXT         NOT NULL,
    reason      TEXT         NOT NULL,
    restored_at TIMESTAMPTZ  NOT NULL DEFAULT now()
);
CREATE INDEX restorations_by_conflict ON restorations (conflict_id);

INSERT INTO plist_migrations (number, name, sha256) VALUES (3, '003_restorations.sql', '');  -- the hash is plist-admin's to fill in
