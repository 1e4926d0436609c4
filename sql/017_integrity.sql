-- Unique values and references that hold for the writes of one region only: what events
-- of other regions make of them is found, shown and perhaps resolved.

-- Records that events have changed and that are still to be looked at. The applier notes
-- them in the transaction that writes them, so none is forgotten.
CREATE TABLE IF NOT EXISTS plist.integrity_checks (
    id        BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource  TEXT        NOT NULL,
    record_id BIGINT      NOT NULL,
    noted_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    due_at    TIMESTAMPTZ NOT NULL DEFAULT now()   -- later, while what it refers to may arrive
);
CREATE INDEX IF NOT EXISTS integrity_checks_due ON plist.integrity_checks (due_at, id);

-- The violations that are there now, or were a few minutes ago. Each has a row in
-- conflicts, which stays.
CREATE TABLE IF NOT EXISTS plist.violations (
    resource   TEXT        NOT NULL,
    type       TEXT        NOT NULL CHECK (type IN ('multiple_unique_conflicts', 'reference_missing')),
    fields     TEXT        NOT NULL,               -- "room,day", or the field that refers
    subject    TEXT        NOT NULL,               -- the values that are shared, as JSON; or the record's id
    records    JSONB       NOT NULL,               -- the vectors of the records, by id
    conflict   BIGINT      NOT NULL,               -- the row in conflicts
    found_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    changed_at TIMESTAMPTZ NOT NULL DEFAULT now(), -- when the records last changed
    looked_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    tried      JSONB,                              -- the records for which the rule was last asked
    rule       TEXT,                               -- the SHA-256 of the rule that was asked
    tries      INTEGER     NOT NULL DEFAULT 0,     -- how often this region has tried to write its changes
    written    TEXT[]      NOT NULL DEFAULT '{}',  -- the request ids of the changes that it wrote
    gone_at    TIMESTAMPTZ,                        -- kept for a while: the records may violate something again
    PRIMARY KEY (resource, type, fields, subject)
);

ALTER TABLE plist.conflicts DROP CONSTRAINT IF EXISTS conflicts_type_is_known;
ALTER TABLE plist.conflicts ADD CONSTRAINT conflicts_type_is_known CHECK (type IN
    ('insert_exists', 'update_origin_differs', 'update_deleted', 'delete_origin_differs', 'delete_missing',
     'created_twice', 'multiple_unique_conflicts', 'reference_missing')) NOT VALID;

-- A write of one record does not end what concerns several.
CREATE OR REPLACE FUNCTION plist.plist_replace_siblings(of_resource TEXT, of_record BIGINT) RETURNS VOID LANGUAGE sql VOLATILE AS $$
    DELETE FROM plist.record_siblings WHERE resource = of_resource AND record_id = of_record;
    UPDATE plist.conflicts SET closed_at = clock_timestamp()
    WHERE resource = of_resource AND record_id = of_record AND closed_at IS NULL
      AND type NOT IN ('created_twice', 'multiple_unique_conflicts', 'reference_missing');
$$;
