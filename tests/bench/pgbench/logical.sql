-- A small transaction for logical replication.
\set id :client_id + 1 + 64 * random(0, 14)
UPDATE properties SET price = price + 1, version = version + 1, updated_at = clock_timestamp() WHERE id = :id;
