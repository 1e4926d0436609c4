-- Fields that one daemon knows and another one does not (yet, or no longer).
--
-- A record's row has a column for each field that this region's daemons know. A field of
-- an event that the receiving daemon does not know is kept in the column unknown_fields,
-- a JSON object that is NULL in ordinary rows. A member of unknown_fields takes
-- precedence over the column of the same name; housekeeping moves it there.

-- The fields that any daemon of this region has known, of whichever configuration. The
-- daemons write to it when they connect, before they write a record.
CREATE TABLE IF NOT EXISTS plist.resource_fields (
    resource   TEXT        NOT NULL,
    name       TEXT        NOT NULL,
    type       TEXT        NOT NULL,                    -- "integer", "decimal(12,2)", "string", "boolean"
    retired    BOOLEAN     NOT NULL DEFAULT false,
    has_column BOOLEAN     NOT NULL DEFAULT true,       -- the resource's table has it
    known_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (resource, name)
);

-- What each daemon of this region knows now. The region's heartbeat carries it, and
-- region_heartbeats keeps that of every region: {daemon: {resource: {field: type}}}.
CREATE TABLE IF NOT EXISTS plist.daemon_fields (
    daemon  TEXT        PRIMARY KEY,                    -- "host:port"
    fields  JSONB       NOT NULL,                       -- {resource: {field: type}}; "retired integer"
    seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
ALTER TABLE plist.region_heartbeats ADD COLUMN IF NOT EXISTS fields JSONB;

-- Gives a table of records the column and the index by which housekeeping finds the rows
-- that have something in it. plist-admin migrate calls it for every configured resource.
CREATE OR REPLACE FUNCTION plist.plist_add_unknown_fields(of_table TEXT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    records regclass := to_regclass(of_table);
    index   text     := (SELECT relname || '_unknown_fields' FROM pg_class WHERE oid = records);
BEGIN
    IF records IS NULL OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = records AND attname = 'unknown_fields' AND NOT attisdropped) THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE %s ADD COLUMN unknown_fields JSONB', records);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (id) WHERE unknown_fields IS NOT NULL', index, records);
    RETURN true;
END $$;

-- The tables of records of all resources: those with plist's columns.
DO $$
DECLARE
    records regclass;
BEGIN
    FOR records IN SELECT a.attrelid::regclass FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
                   JOIN pg_attribute v ON v.attrelid = a.attrelid AND v.attname = 'vector' AND v.atttypid = 'jsonb'::regtype
                   JOIN pg_attribute o ON o.attrelid = a.attrelid AND o.attname = 'region_origin'
                   WHERE a.attname = 'has_siblings' AND a.atttypid = 'boolean'::regtype AND c.relnamespace <> 'plist'::regnamespace LOOP
        PERFORM plist.plist_add_unknown_fields(records::text);
    END LOOP;
END $$;

-- For each new connection that writes: enters the fields that this daemon knows,
-- {"price": {"type": "decimal(12,2)", "retired": false}, …}. While a new one is entered
-- nobody writes the table, so that a statement that is running does not miss it.
CREATE OR REPLACE FUNCTION plist.plist_claim_fields(of_resource TEXT, of_table TEXT, fields JSONB) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    records regclass := to_regclass(of_table);
    columns text[]   := ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = records AND attnum > 0 AND NOT attisdropped);
BEGIN
    IF records IS NULL THEN
        RETURN;
    END IF;
    IF 'unknown_fields' <> ALL (columns) THEN
        RAISE EXCEPTION 'the table % has no column unknown_fields: run plist-admin migrate', records;
    END IF;
    IF EXISTS (SELECT FROM jsonb_object_keys(fields) AS f(name) LEFT JOIN plist.resource_fields r ON r.resource = of_resource AND r.name = f.name
               WHERE r.name IS NULL OR NOT r.has_column) THEN
        BEGIN
            PERFORM set_config('lock_timeout', '2s', true);
            EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', records);
        EXCEPTION WHEN lock_not_available OR insufficient_privilege THEN
            NULL;
        END;
    END IF;
    INSERT INTO plist.resource_fields AS r (resource, name, type, retired, has_column)
        SELECT of_resource, f.name, f.value ->> 'type', (f.value ->> 'retired')::boolean, f.name = ANY (columns) FROM jsonb_each(fields) AS f(name, value)
        ORDER BY f.name
        ON CONFLICT (resource, name) DO UPDATE SET type = excluded.type, retired = excluded.retired, has_column = excluded.has_column, known_at = now()
        WHERE (r.type, r.retired, r.has_column) IS DISTINCT FROM (excluded.type, excluded.retired, excluded.has_column);
    UPDATE plist.resource_fields AS r SET has_column = r.name = ANY (columns)
        WHERE r.resource = of_resource AND r.has_column <> (r.name = ANY (columns));
END $$;

-- Whether a value can be stored in a column of a field's type.
CREATE OR REPLACE FUNCTION plist.plist_fits(value JSONB, type TEXT) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE coalesce(jsonb_typeof(value), 'missing')
        WHEN 'missing' THEN false
        WHEN 'null' THEN true
        WHEN 'string' THEN type = 'string'
        WHEN 'boolean' THEN type = 'boolean'
        WHEN 'number' THEN CASE
            WHEN type = 'integer' THEN value::numeric = trunc(value::numeric) AND value::numeric BETWEEN -2147483648 AND 2147483647
            WHEN type LIKE 'decimal(%' THEN
                abs(value::numeric) < 10::numeric ^ (split_part(substr(type, 9), ',', 1)::integer - rtrim(split_part(type, ',', 2), ')')::integer)
                AND value::numeric = round(value::numeric, rtrim(split_part(type, ',', 2), ')')::integer)
            ELSE false END
        ELSE false END;
$$;

-- What remains of a row's unknown_fields when those that fit, {"price": "decimal(12,2)"},
-- have been moved to their columns.
CREATE OR REPLACE FUNCTION plist.plist_unknown_rest(unknown JSONB, fields JSONB) RETURNS JSONB LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT nullif(unknown - ARRAY(SELECT f.name FROM jsonb_each_text(fields) AS f(name, type) WHERE plist.plist_fits(unknown -> f.name, f.type)), '{}');
$$;

-- All that a row holds beyond the fields `known`: columns that other daemons know, and
-- its unknown_fields, which take precedence.
CREATE OR REPLACE FUNCTION plist.plist_stored_fields(of_resource TEXT, known TEXT[], unknown JSONB, record JSONB) RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT nullif(coalesce((SELECT jsonb_object_agg(f.name, record -> f.name) FROM plist.resource_fields AS f
                            WHERE f.resource = of_resource AND f.name <> ALL (known) AND record ? f.name), '{}') || coalesce(unknown, '{}'), '{}');
$$;

-- The same as it travels with the record: without nulls, and without what is named
-- already.
CREATE OR REPLACE FUNCTION plist.plist_unknown_fields(of_resource TEXT, known TEXT[], unknown JSONB, record JSONB) RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT nullif(jsonb_strip_nulls(plist.plist_stored_fields(of_resource, known, unknown, record) - known), '{}');
$$;

-- What is stored in unknown_fields with a row whose unknown fields are `unknown`. Columns
-- that other daemons know and that are not named are null. A field that this region had
-- retired, and whose column is gone, is not kept.
CREATE OR REPLACE FUNCTION plist.plist_unknown_written(of_resource TEXT, of_table TEXT, known TEXT[], unknown JSONB) RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT nullif(coalesce(jsonb_object_agg(f.name, 'null'::jsonb) FILTER (WHERE f.here), '{}')
                  || (coalesce(unknown, '{}') - coalesce(array_agg(f.name) FILTER (WHERE f.retired AND NOT f.here), '{}')), '{}')
    FROM (SELECT r.name, r.retired, a.attname IS NOT NULL AS here FROM plist.resource_fields AS r
          LEFT JOIN pg_attribute AS a ON a.attrelid = to_regclass(of_table) AND a.attname = r.name AND NOT a.attisdropped
          WHERE r.resource = of_resource AND r.name <> ALL (known)) AS f;
$$;
