-- Moves plist's own tables into the schema plist, adds constraints, and renames columns.
--
-- Tables of records are not moved; their flag siblings is renamed to has_siblings. The schema
-- is appended to the database's search_path, so that SELECT … FROM processed_requests still
-- finds its table. Stop the daemons before applying this file. Applying it twice changes
-- nothing. From this migration on, plist-admin migrate itself records each applied file in
-- plist.migrations.
CREATE SCHEMA IF NOT EXISTS plist;

DO $$
DECLARE
    found regclass;
    own   text;
BEGIN
    -- The partitions of conflicts first; their names contain the month.
    FOR found IN SELECT inhrelid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE inhparent = to_regclass('conflicts') AND c.relnamespace <> 'plist'::regnamespace LOOP
        EXECUTE format('ALTER TABLE %s SET SCHEMA plist', found);
    END LOOP;
    FOREACH own IN ARRAY ARRAY[
        'plist_migrations', 'processed_requests', 'outbox', 'record_siblings', 'conflicts', 'dead_letters',
        'applied_positions', 'region_heartbeats', 'restorations', 'plist_leaders', 'parked_events', 'id_ranges'
    ] LOOP
        found := (SELECT c.oid FROM pg_class c WHERE c.oid = to_regclass(own) AND c.relnamespace <> 'plist'::regnamespace);
        IF found IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s SET SCHEMA plist', found);
        END IF;
    END LOOP;
    IF to_regclass('plist.plist_migrations') IS NOT NULL THEN
        ALTER TABLE plist.plist_migrations RENAME TO migrations;
    END IF;
    FOREACH own IN ARRAY ARRAY['conflicts', 'dead_letters'] LOOP
        IF EXISTS (SELECT FROM information_schema.columns WHERE table_schema = 'plist' AND table_name = own AND column_name = 'offset') THEN
            EXECUTE format('ALTER TABLE plist.%I RENAME COLUMN "offset" TO kafka_offset', own);
        END IF;
    END LOOP;
END $$;

-- The tables of records of all resources: those with plist's columns.
DO $$
DECLARE
    records regclass;
BEGIN
    FOR records IN SELECT a.attrelid::regclass FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
                   JOIN pg_attribute v ON v.attrelid = a.attrelid AND v.attname = 'vector' AND v.atttypid = 'jsonb'::regtype
                   JOIN pg_attribute o ON o.attrelid = a.attrelid AND o.attname = 'region_origin'
                   WHERE a.attname = 'siblings' AND a.atttypid = 'boolean'::regtype AND c.relnamespace <> 'plist'::regnamespace LOOP
        EXECUTE format('ALTER TABLE %s RENAME COLUMN siblings TO has_siblings', records);
    END LOOP;
END $$;

-- VARCHAR(n) columns become TEXT with the same collation. The configuration limits their
-- contents.
DO $$
DECLARE
    col record;
BEGIN
    FOR col IN SELECT c.relname, a.attname, l.collname FROM pg_attribute a
               JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               LEFT JOIN pg_collation l ON l.oid = a.attcollation
               WHERE c.relnamespace = 'plist'::regnamespace AND a.atttypid = 'varchar'::regtype AND NOT a.attisdropped LOOP
        EXECUTE format('ALTER TABLE plist.%I ALTER COLUMN %I TYPE TEXT COLLATE %I', col.relname, col.attname, col.collname);
    END LOOP;
END $$;

-- Constraints for values that plist never writes, but SQL by hand or a bug might. Existing
-- rows are not checked.
DO $$
DECLARE
    rule record;
BEGIN
    FOR rule IN SELECT * FROM (VALUES
        ('processed_requests', 'status_is_no_failure', 'status BETWEEN 200 AND 499'),  -- a handler may answer 409 after its write
        ('processed_requests', 'fingerprint_is_a_hash', 'octet_length(fingerprint) = 32'),
        ('processed_requests', 'vector_is_an_object', 'jsonb_typeof(vector) = ''object'''),
        ('processed_requests', 'dots_are_an_object', 'jsonb_typeof(dots) = ''object'''),
        ('outbox', 'status_is_a_success', 'status BETWEEN 200 AND 299'),
        ('outbox', 'fingerprint_is_a_hash', 'octet_length(fingerprint) = 32'),
        ('outbox', 'vector_is_an_object', 'jsonb_typeof(vector) = ''object'''),
        ('record_siblings', 'counter_is_positive', 'counter > 0'),
        ('record_siblings', 'vector_is_an_object', 'jsonb_typeof(vector) = ''object'''),
        ('record_siblings', 'fields_are_an_object', 'jsonb_typeof(fields) = ''object'''),
        ('record_siblings', 'fingerprint_is_a_hash', 'octet_length(fingerprint) = 32'),
        ('conflicts', 'type_is_known',
         'type IN (''insert_exists'', ''update_origin_differs'', ''update_deleted'', ''delete_origin_differs'', ''delete_missing'')'),
        ('conflicts', 'siblings_are_an_array', 'jsonb_typeof(siblings) = ''array'''),
        ('conflicts', 'vector_is_an_object', 'jsonb_typeof(vector) = ''object'''),
        ('dead_letters', 'offset_is_not_negative', 'kafka_offset >= 0'),
        ('applied_positions', 'offset_is_not_negative', 'next_offset >= 0'),
        ('region_heartbeats', 'outbox_is_not_negative', 'outbox_events >= 0'),
        ('migrations', 'number_is_positive', 'number > 0')) AS r (own, name, condition)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = format('plist.%I', rule.own)::regclass AND conname = rule.own || '_' || rule.name) THEN
            EXECUTE format('ALTER TABLE plist.%I ADD CONSTRAINT %I CHECK (%s) NOT VALID', rule.own, rule.own || '_' || rule.name, rule.condition);
        END IF;
    END LOOP;
END $$;

-- The search_path: "public, plist" if none was set, otherwise the present one followed by
-- plist. The default does not contain "$user", since a role named plist would then create its
-- tables in the schema plist.
DO $$
DECLARE
    path text := current_setting('search_path');
BEGIN
    IF 'plist' <> ALL (string_to_array(replace(path, ' ', ''), ',')) THEN
        path := CASE WHEN path = '"$user", public' AND NOT EXISTS (SELECT FROM pg_namespace n JOIN pg_roles r ON r.rolname = n.nspname
                                                                    WHERE n.nspname <> 'plist') THEN 'public' ELSE path END || ', plist';
        BEGIN
            EXECUTE format('ALTER DATABASE %I SET search_path = %s', current_database(), path);
        EXCEPTION WHEN insufficient_privilege THEN
            EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %s', current_user, current_database(), path);
        END;
        PERFORM set_config('search_path', path, false);
    END IF;
END $$;

-- A write has seen all siblings of a record and replaces them. Call this while holding the
-- record's lock: a volatile function uses a new snapshot, so it sees the siblings that existed
-- when the lock was granted, not those from the beginning of the statement.
CREATE OR REPLACE FUNCTION plist.plist_replace_siblings(of_resource TEXT, of_record BIGINT) RETURNS VOID LANGUAGE sql VOLATILE AS $$
    DELETE FROM plist.record_siblings WHERE resource = of_resource AND record_id = of_record;
    UPDATE plist.conflicts SET closed_at = clock_timestamp() WHERE resource = of_resource AND record_id = of_record AND closed_at IS NULL;
$$;
DROP FUNCTION IF EXISTS plist_siblings_replaced(TEXT, BIGINT);

-- Finds plist's tables under any search_path of the caller.
DO $$
DECLARE
    found regprocedure;
BEGIN
    FOR found IN SELECT oid::regprocedure FROM pg_proc WHERE proname = 'plist_pass_taken_ids' AND proconfig IS NULL LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path FROM CURRENT', found);
    END LOOP;
END $$;

-- Finds plist's tables under any search_path of the caller.
DO $$
DECLARE
    found regprocedure;
BEGIN
    FOR found IN SELECT oid::regprocedure FROM pg_proc WHERE proname = 'plist_claim_ids' AND proconfig IS NULL LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path FROM CURRENT', found);
    END LOOP;
END $$;
