"""The tables of a region, read with psycopg2; and the comparison of regions at the end of every restart test."""

import threading

import psycopg2

# The visible columns of a row: two regions that know the same writes must show the same
# values.
ROW = ("SELECT id, price, bedrooms, bathrooms, region_origin, version, updated_at, vector::text, deleted_at IS NOT NULL, has_siblings "
       "FROM properties {where} ORDER BY id")


def unless_deadlocked(run, *args):
    """run(*args), again while PostgreSQL ends it because of a deadlock with a daemon's session, which undoes all of it."""
    while True:
        try:
            return run(*args)
        except psycopg2.errors.DeadlockDetected:
            continue


class Database:
    """One connection per thread, opened on first use and reopened after a failure. Each statement is a transaction."""

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
        return unless_deadlocked(self._run_once, sql, params, fetch)

    def _run_once(self, sql, params, fetch):
        for attempt in (1, 2):
            connection = self._connection()
            try:
                with connection.cursor() as cursor:
                    cursor.execute(sql, params or None)
                    return cursor.fetchall() if fetch else cursor.rowcount
            except psycopg2.errors.DeadlockDetected:
                raise  # an OperationalError, too
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                connection.close()
                # Only a query finds out that a restart of the server has cut the
                # connection; reads may be repeated.
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
        """A separate connection with transactions, for holding locks. The caller closes it."""
        return psycopg2.connect(self.url, connect_timeout=3, application_name="plist-tests")

    def close(self):
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    # Queries that many tests need.

    def property(self, record_id):
        """A row as a dictionary, including tombstones, or None."""
        names = ("id", "price", "bedrooms", "bathrooms", "region_origin", "version", "updated_at", "vector", "deleted", "siblings")
        rows = self.rows("SELECT id, price, bedrooms, bathrooms, region_origin, version, updated_at, vector, "
                         "deleted_at IS NOT NULL, has_siblings FROM properties WHERE id = %s", record_id)
        return dict(zip(names, rows[0])) if rows else None

    def properties(self, where="", *params):
        """All visible columns of the rows, for comparison."""
        return self.rows(ROW.format(where=where), *params)

    def outbox(self):
        """Events that the broker has not acknowledged. The table also holds those that are kept until every region has applied them."""
        return self.value("SELECT plist.plist_outbox_unpublished()")

    def kept(self):
        """Events that the broker has acknowledged and that are kept."""
        return self.value("SELECT count(*) FROM outbox") - self.outbox()

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
    """The differences between regions as sentences; empty if they are equal."""
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
