#!/bin/sh
# Creates plist's roles, which are not superusers. PostgreSQL's image runs this when it creates
# a database. plist owns the tables; plist_query runs the SQL of handlers (database.query_role)
# and may only read. Both have the same password.
set -eu
psql --no-psqlrc --set=ON_ERROR_STOP=1 --set=password="$POSTGRES_PASSWORD" --username="${POSTGRES_USER:-postgres}" --dbname="$POSTGRES_DB" <<'SQL'
CREATE ROLE plist LOGIN PASSWORD :'password';
CREATE ROLE plist_query LOGIN NOINHERIT PASSWORD :'password';
SELECT format('ALTER DATABASE %I OWNER TO plist', current_database()) \gexec
ALTER SCHEMA public OWNER TO plist;
SQL
