-- A read like that of plistd, for pgbench.
\set id :client_id + 1 + 64 * random(0, 14)
SELECT id, price, bedrooms, bathrooms, region_origin, version, updated_at, vector, has_siblings FROM properties WHERE id = :id AND deleted_at IS NULL;
