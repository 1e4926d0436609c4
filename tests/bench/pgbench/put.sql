-- The write of the contract as one statement in one transaction: remembered request,
-- record, outbox. pgbench's rate is that of a service without the cost of HTTP, checks
-- and a scripting language. Clients do not share rows. (chr(58) is a colon, which pgbench
-- would take for a variable; the planner folds it into a constant.)
\set id :client_id + 1 + 64 * random(0, 14)
\set rid random(1, 9000000000000000000)
WITH i AS MATERIALIZED (
  SELECT v.id, v.price, v.rid, pr.request_id IS NOT NULL AS dup
  FROM (VALUES (:id::bigint, (100000 + :id)::numeric, 'b-' || :client_id || '-' || :rid)) AS v(id, price, rid)
  LEFT JOIN processed_requests pr ON pr.request_id = v.rid AND pr.principal = ''),
u AS (
  UPDATE properties p SET price = i.price, region_origin = 'us', version = p.version + 1,
    updated_at = greatest(clock_timestamp(), p.updated_at + interval '1 microsecond'),
    vector = p.vector || jsonb_build_object('us', (p.vector ->> 'us')::int + 1)
  FROM i WHERE p.id = i.id AND p.version = p.version AND p.deleted_at IS NULL AND NOT i.dup
  RETURNING i.rid, p.id, p.price, p.bedrooms, p.bathrooms, p.region_origin, p.version, p.updated_at, p.vector),
j AS MATERIALIZED (
  SELECT *, '{"id":' || id || ',"price":' || price || ',"bedrooms":' || coalesce(bedrooms::text, 'null') || ',"bathrooms":'
    || coalesce(bathrooms::text, 'null') || ',"region_origin":"us","version":' || version || ',"updated_at":"'
    || to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24' || chr(58) || 'MI' || chr(58) || 'SS.US"Z"') || '"}' AS body FROM u),
o AS (
  INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at)
  SELECT 'properties', id, 'us', body, vector, rid, sha256('x'), 200, now() + interval '24 hours' FROM j),
r AS (
  INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, response_body, vector, dots, expires_at)
  SELECT rid, sha256('x'), 'properties', id, 200, body::jsonb, vector, vector, now() + interval '24 hours' FROM j)
SELECT body FROM j;
