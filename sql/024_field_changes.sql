-- Whether another daemon knows fields of a resource that a session does not: the answer,
-- kept with the session, so that a single write need not look for it in the table.

-- Moves before a change of plist.resource_fields is committed.
CREATE SEQUENCE IF NOT EXISTS plist.resource_fields_changes;
DO $$ BEGIN PERFORM nextval('plist.resource_fields_changes'); END $$; -- it has a last value from now on

CREATE OR REPLACE FUNCTION plist.plist_note_field_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('plist.resource_fields_changes');
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS resource_fields_change ON plist.resource_fields;
CREATE TRIGGER resource_fields_change AFTER INSERT OR UPDATE OR DELETE ON plist.resource_fields
    FOR EACH ROW EXECUTE FUNCTION plist.plist_note_field_change();
DROP TRIGGER IF EXISTS resource_fields_emptied ON plist.resource_fields;
CREATE TRIGGER resource_fields_emptied AFTER TRUNCATE ON plist.resource_fields
    FOR EACH STATEMENT EXECUTE FUNCTION plist.plist_note_field_change();

-- Sets `mark`, a setting of this session, to where the sequence is if nobody knows more
-- fields of the resource than `known`; else, and if this cannot be known now, to ''. As
-- long as the sequence is where the mark says, nobody does. The lock keeps out whoever
-- has moved the sequence and not committed yet.
CREATE OR REPLACE FUNCTION plist.plist_look_at_fields(mark TEXT, of_resource TEXT, known TEXT[]) RETURNS VOID LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    seen TEXT := '';
BEGIN
    BEGIN
        LOCK TABLE plist.resource_fields IN SHARE MODE NOWAIT;
        IF NOT EXISTS (SELECT FROM plist.resource_fields WHERE resource = of_resource AND has_column AND name <> ALL (known)) THEN
            seen := coalesce(pg_sequence_last_value('plist.resource_fields_changes'::regclass)::text, '');
        END IF;
    EXCEPTION WHEN lock_not_available OR insufficient_privilege OR read_only_sql_transaction THEN -- on a standby, too
        NULL;
    END;
    PERFORM set_config(mark, seen, false);
END $$;
