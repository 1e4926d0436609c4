-- One request that created a record in each of several regions: all but the record of the
-- region that comes first by name are deleted by the regions that made them.

-- The records to be deleted. A row goes when its record has been.
CREATE TABLE IF NOT EXISTS plist.created_twice (
    resource    TEXT        NOT NULL,
    record_id   BIGINT      NOT NULL,
    origin      TEXT        NOT NULL,      -- the region that made it, and deletes it
    kept_id     BIGINT      NOT NULL,      -- the record that stays
    kept_origin TEXT        NOT NULL,
    request_id  TEXT        NOT NULL,
    principal   TEXT        NOT NULL,
    found_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    retry_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (resource, record_id)
);

-- Such a conflict stays open until one of the two records is deleted.
ALTER TABLE plist.conflicts DROP CONSTRAINT IF EXISTS conflicts_type_is_known;
ALTER TABLE plist.conflicts ADD CONSTRAINT conflicts_type_is_known CHECK (type IN
    ('insert_exists', 'update_origin_differs', 'update_deleted', 'delete_origin_differs', 'delete_missing', 'created_twice')) NOT VALID;

CREATE OR REPLACE FUNCTION plist.plist_replace_siblings(of_resource TEXT, of_record BIGINT) RETURNS VOID LANGUAGE sql VOLATILE AS $$
    DELETE FROM plist.record_siblings WHERE resource = of_resource AND record_id = of_record;
    UPDATE plist.conflicts SET closed_at = clock_timestamp()
    WHERE resource = of_resource AND record_id = of_record AND closed_at IS NULL AND type <> 'created_twice';
$$;
