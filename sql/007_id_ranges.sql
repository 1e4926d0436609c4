-- Ids of new records: where a region's range begins is decided at its first start and
-- kept here. After that neither the order of the regions in the YAML nor a restored
-- database moves it.
CREATE TABLE id_ranges (
    region  TEXT        PRIMARY KEY,
    id_base BIGINT      NOT NULL CHECK (id_base >= 0),
    kept_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- Moves a table's sequence above the ids that are taken in the region's range. Returns
-- the id after which the next ones are given out, or NULL if no id was in the way.
--
-- One id near the end of the range must not use the range up: ids in its last tenth do
-- not count, and if such ids are in the way, only the run of taken ids that is next is
-- passed over, at most 100,000 of them at a time.
CREATE FUNCTION plist_pass_taken_ids(own text, room bigint, records text, sequence text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    base bigint := (SELECT id_base FROM id_ranges WHERE region = own);
    last bigint;
    top  bigint;
BEGIN
    IF to_regclass(records) IS NULL OR to_regclass(sequence) IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM %s', to_regclass(sequence)) INTO last;
    EXECUTE format('SELECT max(id) - $1 FROM %s WHERE id > $1 AND id <= $2', to_regclass(records))
        INTO top USING base, base + room / 10 * 9;
    IF top IS NULL OR top <= last THEN
        EXECUTE format('WITH RECURSIVE run(n) AS (SELECT $1 UNION ALL SELECT n + 1 FROM run WHERE n < $1 + 100000 '
                       'AND EXISTS (SELECT FROM %s WHERE id = $2 + n + 1)) SELECT max(n) FROM run', to_regclass(records))
            INTO top USING last, base;
    END IF;
    IF top <= last THEN
        RETURN NULL;
    END IF;
    PERFORM setval(to_regclass(sequence), top);
    RETURN base + top;
END $$;

-- For each new connection that writes: the start of the region's range, which is
-- `configured` if none is kept, or if the YAML says so (`given`); and each table's
-- sequence is beyond the ids that are taken. A range that the YAML does not give is not
-- taken into use if the newest records in it are those of other regions.
CREATE FUNCTION plist_claim_ids(own text, configured bigint, given boolean, room bigint, VARIADIC tables text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    base    bigint := (SELECT id_base FROM id_ranges WHERE region = own);
    foreign_id bigint;
BEGIN
    IF base IS NULL AND NOT given THEN
        FOR i IN 1 .. array_length(tables, 1) / 2 LOOP
            CONTINUE WHEN to_regclass(tables[2 * i - 1]) IS NULL;
            EXECUTE format('SELECT max(id) FROM (SELECT id, vector FROM %s WHERE id > $1 AND id <= $2 ORDER BY id DESC LIMIT 1000) p '
                           'HAVING NOT bool_or(p.vector ? $3)', to_regclass(tables[2 * i - 1]))
                INTO foreign_id USING configured, configured + room, own;
            IF foreign_id IS NOT NULL THEN
                RAISE EXCEPTION 'id % of table % belongs to another region: give regions.%.id_base a number whose range is free',
                    foreign_id, tables[2 * i - 1], own;
            END IF;
        END LOOP;
    END IF;
    IF base IS NULL OR (given AND base <> configured) THEN
        INSERT INTO id_ranges (region, id_base) VALUES (own, configured)
            ON CONFLICT (region) DO UPDATE SET id_base = excluded.id_base, kept_at = now() WHERE given;
    END IF;
    FOR i IN 1 .. array_length(tables, 1) / 2 LOOP
        PERFORM plist_pass_taken_ids(own, room, tables[2 * i - 1], tables[2 * i]);
    END LOOP;
    RETURN (SELECT id_base FROM id_ranges WHERE region = own);
END $$;

INSERT INTO plist_migrations (number, name, sha256) VALUES (7, '007_id_ranges.sql', '');  -- the hash is plist-admin's to fill in
