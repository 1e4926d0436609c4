"""What stands in a region's tables, read through psycopg2; and the comparison of regions that every restart test ends with."""

import threading

import psycopg2

# Whatever a row is shown by: two regions that know the same writes must show the same of all of this.
ROW = ("SELECT id, price, bedrooms, bathrooms, region_origin, version, updated_at, vector::text, deleted_at IS NOT NULL, siblings "
       "FROM properties {where} ORDER BY id")


class Database:
    """One connection a thread, made when first used and again after the server was away. Each statement is a transaction."""

    def __init__(self, url):
        self.url = url
        self._local = threading.local()

    def _connection(self):
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = psycopg2.connect(self.url, connect_timeout=3, application_name="plist-tests")
            connection.autocommit = True
            self._local.connection = connection
        return connection

    def _run(self, sql, params, fetch):
        for attempt in (1, 2):
            connection = self._connection()
            try:
                with connection.cursor() as cursor:
                    cursor.execute(sql, params or None)
                    return cursor.fetchall() if fetch else cursor.rowcount
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                connection.close()
                # A connection that the server's restart has cut is found out by using it; a read may be asked again.
                if attempt == 2 or not fetch:
                    raise
        return None

    def rows(self, sql, *params):
        return self._run(sql, params, True)

    def value(self, sql, *params):
        rows = self.rows(sql, *params)
        return rows[0][0] if rows else None

    def execute(self, sql, *params):
        return self._run(sql, params, False)

    def connect(self):
        """A connection of its own, with transactions: to hold locks. The caller closes it."""
        return psycopg2.connect(self.url, connect_timeout=3, application_name="plist-tests")

    def close(self):
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    # What tests ask most.

    def property(self, record_id):
        """One row as a dictionary, tombstones too, or None."""
        names = ("id", "price", "bedrooms", "bathrooms", "region_origin", "version", "updated_at", "vector", "deleted", "siblings")
        rows = self.rows("SELECT id, price, bedrooms, bathrooms, region_origin, version, updated_at, vector, "
                         "deleted_at IS NOT NULL, siblings FROM properties WHERE id = %s", record_id)
        return dict(zip(names, rows[0])) if rows else None

    def properties(self, where="", *params):
        """Everything that is shown of the rows, for comparison."""
        return self.rows(ROW.format(where=where), *params)

    def outbox(self):
        return self.value("SELECT count(*) FROM outbox")

    def remembered(self, request_id):
        names = ("status", "record_id", "dots", "vector", "response_body", "location")
        rows = self.rows("SELECT status, record_id, dots, vector, response_body, location FROM processed_requests "
                         "WHERE request_id = %s", request_id)
        return dict(zip(names, rows[0])) if rows else None

    def conflicts(self, record_id):
        names = ("type", "policy_name", "policy_error", "siblings", "verdict", "visible", "vector", "closed_at")
        return [dict(zip(names, row)) for row in self.rows(
            "SELECT type, policy_name, policy_error, siblings, verdict, visible, vector, closed_at FROM conflicts "
            "WHERE record_id = %s ORDER BY detected_at, id", record_id)]


def differences(databases, limit=5):
    """What two or more regions do not agree on, as sentences; empty when they are equal."""
    names = list(databases)
    first = {row[0]: row for row in databases[names[0]].properties()}
    told = []
    for name in names[1:]:
        other = {row[0]: row for row in databases[name].properties()}
        for record_id in sorted(first.keys() | other.keys()):
            if first.get(record_id) != other.get(record_id):
                told.append(f"{record_id}: {names[0]} {first.get(record_id)} / {name} {other.get(record_id)}")
    return told[:limit] + ([f"… and {len(told) - limit} more"] if len(told) > limit else [])


def dishonest_versions(database):
    """Rows whose version is not the sum of their vector."""
    return database.rows("SELECT id, version, vector::text FROM properties WHERE version <> "
                         "(SELECT sum(value::int) FROM jsonb_each_text(vector))")
