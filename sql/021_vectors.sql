-- The rare cases of what a write's statement checks, as functions of their own.
--
-- PostgreSQL prepares every expression of a statement each time it is executed, also
-- those that are never evaluated: with these written out, a single write took a third
-- longer. In PL/pgSQL, since a function in SQL would be written out by the planner.

-- The number of writes that a record's vector counts. NULL if an entry is none that an
-- event can carry: see record/edge.h. `names` are the configured and retired regions.
CREATE OR REPLACE FUNCTION plist.plist_vector_sum(vector JSONB, names TEXT[]) RETURNS BIGINT LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF jsonb_typeof(vector) IS DISTINCT FROM 'object' THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT CASE WHEN bool_and(e.fits) IS NOT false AND count(*) FILTER (WHERE e.value <> '0') <= 64
                    THEN coalesce(sum(CASE WHEN e.fits THEN e.value::bigint END), 0) END
        FROM (SELECT value, length(key) <= 32 AND key ~ '^[a-z][a-z0-9-]*([.]([2-9]|[1-9][0-9]{1,9}))?$' AND value::text ~ '^[0-9]+$'
                     AND (value = '0' OR value <= '1073741824' AND split_part(key, '.', 1) = ANY (names)) AS fits
              FROM jsonb_each(vector)) AS e);
END $$;

-- Whether the writes under `own`, a region's key, can be counted once more: there is
-- room in the number or, if there is none yet, for one more entry.
CREATE OR REPLACE FUNCTION plist.plist_vector_has_room(vector JSONB, own TEXT) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    -- In jsonb's order strings are below numbers, and everything else is above them.
    RETURN coalesce(vector -> own BETWEEN '0' AND '1073741823',
                    CASE WHEN jsonb_typeof(vector) = 'object' THEN (SELECT count(*) FROM jsonb_object_keys(vector)) < 64 ELSE false END);
END $$;

-- As in 015, but no longer written out.
CREATE OR REPLACE FUNCTION plist.plist_fits(value JSONB, type TEXT) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CASE coalesce(jsonb_typeof(value), 'missing')
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
END $$;
