-- Which session does what only one may do at a time. A row belongs to a server process for as long as that lives: so it needs no lock that is held, and
-- none that anything but plist's own role can take. Advisory locks are open to every role, and with it to the SQL of handlers.
--
-- The role for that SQL (database.query_role) is made by `plist-admin migrate`, which knows its name.
CREATE TABLE plist_leaders (
    name          TEXT        PRIMARY KEY,
    pid           INTEGER,                     -- of the server process, as in pg_stat_activity; NULL: nobody has had it yet
    backend_start TIMESTAMPTZ,                 -- tells it from a later process of that number
    since         TIMESTAMPTZ
);
INSERT INTO plist_leaders (name) VALUES ('relay'), ('housekeeping');

INSERT INTO plist_migrations (number, name, sha256) VALUES (4, '004_query_role.sql', '');  -- the hash is plist-admin's to fill in
