-- Values that are not in the columns of their fields, and stay in unknown_fields.

-- Executes a statement, whose $1 is an array of ids, for each id alone. Returns those for
-- which it fails, and why; what it does for them is undone.
CREATE OR REPLACE FUNCTION plist.plist_for_each(statement TEXT, ids BIGINT[]) RETURNS TABLE (refused BIGINT, reason TEXT) LANGUAGE plpgsql AS $$
BEGIN
    FOREACH refused IN ARRAY ids LOOP
        BEGIN
            EXECUTE statement USING ARRAY[refused];
            CONTINUE;
        EXCEPTION WHEN OTHERS THEN
            reason := SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END $$;

-- unknown_fields without the fields that a write sets: bit 8 of its flags stands for the
-- first name. A value that did not fit its field's type would otherwise come back when it
-- does.
CREATE OR REPLACE FUNCTION plist.plist_unknown_unset(unknown JSONB, names TEXT[], flags BIGINT) RETURNS JSONB LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT unknown - ARRAY(SELECT f.name FROM unnest(names) WITH ORDINALITY AS f(name, n) WHERE flags & (256::bigint << (f.n - 1)::integer) <> 0);
$$;
