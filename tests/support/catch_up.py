"""Many small events that a stopped region has to catch up with, made by SQL in another region's outbox."""

from .process import wait_until

# A write of each record, as the daemon would put it into the outbox. The rows of the
# records are of the last version, so that the regions can be compared.
EVENTS = """
INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at)
SELECT 'properties', id, 'us', json_build_object('id', id, 'price', 100 + %(version)s, 'bedrooms', 1, 'bathrooms', 1,
       'region_origin', 'us', 'version', %(version)s, 'updated_at', '2026-01-01T00:00:00.000000Z')::text,
       jsonb_build_object('us', %(version)s), 'catch-up-' || %(version)s || '-' || id, sha256(id::text::bytea), 200, now() + interval '1 hour'
FROM generate_series(%(first)s, %(last)s) AS id"""
RECORDS = """
INSERT INTO properties (id, price, bedrooms, bathrooms, region_origin, version, vector, request_id, updated_at)
SELECT id, 100 + %(version)s, 1, 1, 'us', %(version)s, jsonb_build_object('us', %(version)s), 'catch-up-' || %(version)s || '-' || id,
       '2026-01-01T00:00:00Z' FROM generate_series(%(first)s, %(last)s) AS id"""
CAUGHT_UP = "SELECT count(*) FROM properties WHERE id BETWEEN %s AND %s AND version = %s"


def write_events(stack, first, records, versions):
    """us writes each of `records` records `versions` times; returns when Kafka has all of it. In one piece for each
    version, so that the events of a record are in order."""
    database = stack.database("us")
    span = {"first": first, "last": first + records - 1, "version": versions}
    database.execute(RECORDS % span)
    for version in range(1, versions + 1):
        database.execute(EVENTS % (span | {"version": version}))
    wait_until("Kafka has the events", lambda: database.outbox() == 0, 600)


def is_caught_up(stack, region, first, records, versions):
    return stack.database(region).value(CAUGHT_UP, first, first + records - 1, versions) == records
