-- The transaction of logical.sql with the remembered request that plist writes.
\set id :client_id + 1 + 64 * random(0, 14)
\set rid random(1, 9000000000000000000)
WITH u AS (
  UPDATE properties SET price = price + 1, version = version + 1, updated_at = clock_timestamp() WHERE id = :id
  RETURNING id, price, bedrooms, bathrooms, region_origin, version, updated_at)
INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, response_body, vector, dots, expires_at)
SELECT 'b-' || :client_id || '-' || :rid, sha256('x'), 'properties', id, 200, to_jsonb(u), jsonb_build_object('us', version),
  jsonb_build_object('us', version), now() + interval '24 hours' FROM u;
