-- All clients write one row: the rate is limited by the row's lock, which is held during
-- each commit.
\set rid random(1, 9000000000000000000)
WITH u AS (
  UPDATE properties p SET price = p.price + 1, region_origin = 'us', version = p.version + 1,
    updated_at = greatest(clock_timestamp(), p.updated_at + interval '1 microsecond'),
    vector = p.vector || jsonb_build_object('us', (p.vector ->> 'us')::int + 1)
  WHERE p.id = 1
  RETURNING p.id, p.price, p.version, p.vector),
j AS MATERIALIZED (SELECT *, '{"id":' || id || ',"price":' || price || ',"version":' || version || '}' AS body FROM u),
o AS (
  INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at)
  SELECT 'properties', id, 'us', body, vector, 'h-' || :client_id || '-' || :rid, sha256('x'), 200, now() + interval '24 hours' FROM j),
r AS (
  INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, response_body, vector, dots, expires_at)
  SELECT 'h-' || :client_id || '-' || :rid, sha256('x'), 'properties', id, 200, body::jsonb, vector, vector, now() + interval '24 hours' FROM j)
SELECT body FROM j;
