-- Events that Kafka refuses (too large for the topic, …) or that cannot be encoded stay in the outbox, with the reason and when to try them again. The relay
-- passes over them, so that they hold nothing up.

ALTER TABLE outbox
    ADD COLUMN refused_at TIMESTAMPTZ,                -- when it was refused first; NULL for every other row
    ADD COLUMN refused_because TEXT,
    ADD COLUMN refusals INTEGER,                      -- how often
    ADD COLUMN retry_at TIMESTAMPTZ;

CREATE INDEX outbox_refused ON outbox (retry_at) WHERE refused_at IS NOT NULL;

INSERT INTO plist_migrations (number, name, sha256) VALUES (6, '006_outbox_refused.sql', '');  -- the hash is plist-admin's to fill in
