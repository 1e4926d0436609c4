-- Housekeeping: what PostgreSQL refuses for one row is done for the others.

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
