-- The reference application's records: property listings. A resource of your own is such a file and a few lines of YAML.
--
-- The columns up to updated_at are the application's contract; those after it are plist's, and every resource has them.

CREATE TABLE properties (
    id            BIGINT        PRIMARY KEY,
    price         DECIMAL(12,2) NOT NULL,
    bedrooms      INTEGER,
    bathrooms     INTEGER,
    region_origin VARCHAR(32)   NOT NULL,
    version       INTEGER       NOT NULL DEFAULT 1,
    updated_at    TIMESTAMPTZ   NOT NULL DEFAULT now(),
    vector        JSONB         NOT NULL,                 -- {region: writes}; version is its sum
    deleted_at    TIMESTAMPTZ,                            -- a tombstone: the record is gone, the fact that it is stays
    siblings      BOOLEAN       NOT NULL DEFAULT false,   -- record_siblings has concurrent writes of this record
    field_times   JSONB,                                  -- {field: {"at": µs, "origin": region}}; only with track_fields
    request_id    VARCHAR(255)                            -- whose write this is: should it meet a concurrent one, both are told by their requests
) WITH (fillfactor = 80);

-- Ids that this region hands out count from here, above the region's id_base of the YAML.
CREATE SEQUENCE properties_ids MINVALUE 1;

-- A row that something other than plist inserts (a restore, a hand, an older seed) has no vector: its version, all of it,
-- is then counted to the region that it names.
CREATE FUNCTION plist_vector_of_foreign_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.vector := jsonb_build_object(NEW.region_origin, NEW.version);
    RETURN NEW;
END $$;
CREATE TRIGGER properties_foreign_row BEFORE INSERT ON properties
    FOR EACH ROW WHEN (NEW.vector IS NULL) EXECUTE FUNCTION plist_vector_of_foreign_row();

INSERT INTO plist_migrations (number, name, sha256) VALUES (2, '002_properties.sql', '');  -- the hash is plist-admin's to fill in
