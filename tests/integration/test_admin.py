"""plist-admin: command line, configuration, databases and seeds; its output on both streams and its exit status."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

from support import places
from support.database import Database
from support.plistd import admin as run_admin
from support.process import wait_until
from support.quiet import NO, PARTIAL, UNREACHABLE, USAGE, YES, ask, data, empty, on_a_terminal, quiet  # noqa: F401 - fixtures


# ---- the command line


def test_help_is_data_and_needs_no_configuration(tmp_path):
    nothing = {"PLIST_CONFIG": str(tmp_path / "none.yaml")}
    for arguments in (["--help"], ["help"], ["help", "conflicts"], ["help", "conflicts", "list"], ["lag", "--help"], ["seed", "-h"]):
        done = run_admin(*arguments, environment=nothing)
        assert done.stdout.startswith("usage: plist-admin"), arguments
        assert done.stderr == ""


def test_a_misspelt_command_is_refused_with_a_suggestion():
    done = run_admin("conflict", "list", check=False)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "did you mean 'conflicts'?" in done.stderr


def test_a_missing_configuration_is_named():
    done = run_admin("routes", environment={"PLIST_CONFIG": "/nowhere/plist.yaml"}, check=False)
    assert done.returncode == USAGE
    assert "/nowhere/plist.yaml" in done.stderr


def test_an_unknown_region_is_a_mistake_of_the_command_line(empty):
    done = ask(empty, "dead-letters", "list", "--region", "ue", status=USAGE)
    assert "there is no region 'ue'" in done.stderr and "did you mean" in done.stderr


def rights(text):
    """{(principal, kind, name): operations} of commands of kafka-acls.sh."""
    found = {}
    for words in (shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()):
        if not words:
            continue
        assert words[0] == "kafka-acls.sh" and "--add" in words, words
        pairs = list(zip(words, words[1:]))
        operations = {value for option, value in pairs if option == "--operation"}
        principal, = (value for option, value in pairs if option == "--allow-principal")
        for option, value in pairs:
            if option in ("--topic", "--group"):
                assert (principal, option, value) not in found
                found[principal, option, value] = operations
    return found


def test_the_rights_at_the_broker_are_those_that_each_region_needs_and_no_others(empty):
    data = {"Read", "Write", "Describe"}
    wanted = {}
    for region in ("us", "eu"):
        who = f"User:plist-{region}"
        wanted |= {(who, "--topic", "property-updates"): data | {"DescribeConfigs"}, (who, "--topic", "plist-heartbeats"): data,
                   (who, "--group", f"plist-{region}"): {"Read"}}
    done = ask(empty, "kafka", "acls")
    assert rights(done.stdout) == wanted and done.stderr == ""
    done = ask(empty, "kafka", "acls", "--region", "eu", "--principal", "User:CN={region}'s,O=Example Ltd", "--command-config", "/etc/a b")
    assert {who for who, *_ in rights(done.stdout)} == {"User:CN=eu's,O=Example Ltd"}
    assert shlex.split(done.stdout.replace("\\\n", " "), comments=True).count("/etc/a b") == 3
    assert done.stderr == ""
    done = ask(empty, "kafka", "acls", "--principal", "User:plist")
    assert "all regions get the principal User:plist" in done.stderr


def test_output_that_cannot_be_written_is_a_failure(empty):
    with open("/dev/full", "w") as full:
        done = subprocess.run([places.program("plist-admin"), "--config", empty.config, "routes"], stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != YES
    assert "cannot write to standard output" in done.stderr


def test_it_starts_fast():
    """The best of several attempts, so that a busy machine does not decide the result."""
    best = 1.0
    for _ in range(10):
        began = time.monotonic()
        run_admin("version")
        best = min(best, time.monotonic() - began)
    assert best < 0.1


# ---- colours and terminals


def test_colours_are_for_terminals_and_respect_no_color(empty):
    argv = [places.program("plist-admin"), "--config", empty.config, "dead-letters", "show", "frog"]
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    assert "\x1b[" in on_a_terminal(argv, environment)[1]
    assert "\x1b[" not in on_a_terminal(argv, environment | {"NO_COLOR": "1"})[1]
    assert "\x1b[" not in subprocess.run(argv, env=environment, capture_output=True, text=True, check=False).stderr


# ---- config, nginx, routes, policies


def test_config_check_lists_every_problem_with_its_place(empty):
    def break_it(config):
        config["http"] = {"worker": 3}
        config["kafka"]["partitions"] = "many"
    empty.write_config(break_it)
    done = ask(empty, "config", "check", status=NO)
    assert len(re.findall(rf"^{re.escape(str(empty.config))}:\d+:\d+: ", done.stderr, re.M)) >= 2, done.stderr
    problems = data(empty, "config", "check", status=NO)["problems"]
    assert len(problems) >= 2 and all(p["severity"] == "error" for p in problems)


def test_config_check_loads_the_lua_files(empty, tmp_path):
    root = tmp_path / "lua"
    shutil.copytree(places.TOP / "lua", root)
    (root / "handlers" / "property_put.lua").write_text("return {\n  handle = function( end,\n}\n")
    empty.write_config(lambda config: config["lua"].update(path=str(root)))
    done = ask(empty, "config", "check", status=NO)
    assert "property_put.lua:2" in done.stderr


def test_a_good_configuration_is_reported_as_valid(empty):
    done = ask(empty, "config", "check")
    assert done.stdout == "" and "is valid" in done.stderr
    assert data(empty, "config", "check") == {"problems": []}


def test_config_show_hides_secrets_and_loads_again(empty, tmp_path):
    def secret(config):
        config["regions"]["us"]["database"] = "postgresql://plist:hush-hush@127.0.0.1:1/plist"
    empty.write_config(secret)
    shown = ask(empty, "config", "show").stdout
    assert "hush-hush" not in shown and "***" in shown
    again = tmp_path / "again.yaml"
    again.write_text(shown)
    assert run_admin("routes", config=again).returncode == YES
    assert "hush-hush" not in json.dumps(data(empty, "config", "show"))


def test_config_show_defaults_lists_every_key(empty):
    keys = {row["key"]: row for row in data(empty, "config", "show", "--defaults")["keys"]}
    assert keys["database.batch"]["default"] == "64"
    assert len(keys) > 50


def test_config_schema_is_json():
    assert json.loads(run_admin("config", "schema").stdout)["type"] == "object"


def test_nginx_check_answers_whether_a_file_is_the_right_one(empty, tmp_path):
    file = tmp_path / "nginx.conf"
    file.write_text(ask(empty, "nginx").stdout)
    assert ask(empty, "nginx", "--check", file).stdout == ""
    file.write_text(file.read_text().replace("max_fails=3", "max_fails=4"))
    done = ask(empty, "nginx", "--check", file, status=NO)
    changed = next(n for n, line in enumerate(file.read_text().splitlines(), 1) if "max_fails=4" in line)
    assert done.stdout == "" and f"first in line {changed};" in done.stderr
    file.write_text(ask(empty, "nginx").stdout[:-1])  # only the end of the last line is missing
    ask(empty, "nginx", "--check", file, status=NO)
    ask(empty, "nginx", "--check", tmp_path / "none", status=USAGE)


def test_routes_are_those_of_the_yaml_and_the_daemons_own(empty):
    routes = data(empty, "routes")["routes"]
    put = next(r for r in routes if r["method"] == "PUT")
    assert (put["handler"], put["lock"], put["on_duplicate"], put["ttl_seconds"]) == \
        ("handlers/property_put.lua", "required", "reject", 86400)
    assert any(r["path"] == "/:region/replication-lag" for r in routes)


def test_policy_list_shows_names_hashes_and_who_uses_them(empty):
    policies = {p["name"]: p for p in data(empty, "policy", "list")["policies"]}
    assert set(policies) >= {"last_writer_wins", "region_order", "field_merge", "highest_price", "delete_wins"}
    assert policies["last_writer_wins"]["resources"] == ["properties"]
    assert policies["region_order"]["resources"] == []
    assert all(re.fullmatch("[0-9a-f]{64}", p["sha256"]) and p["doc"] for p in policies.values())


# ---- migrate


def test_migrate_applies_each_file_once_and_says_what_there_is(empty):
    before = empty.database("us").rows("SELECT number, applied_at FROM plist.migrations ORDER BY 1")
    again = ask(empty, "migrate", "-o", "json")
    assert "applied" not in again.stderr
    status = data(empty, "migrate", "--status")["migrations"]
    assert {row["region"] for row in status} == {"us", "eu"}
    assert all(row["state"] == "applied" and row["applied_at"] and len(row["sha256"]) == 64 for row in status)
    assert [row["number"] for row in status if row["region"] == "us"] == [number for number, _ in before]
    assert empty.database("us").rows("SELECT number, applied_at FROM plist.migrations ORDER BY 1") == before


def test_migrate_dry_run_changes_nothing(empty):
    database = Database(empty.postgres["us"].superuser_url)  # plist's own role may not create databases
    database.execute("CREATE DATABASE fresh OWNER plist")
    other = Database(re.sub(r"/plist$", "/fresh", empty.database("us").url))
    try:
        def fresh(config):
            config["regions"]["us"]["database"] = other.url
        empty.write_config(fresh)
        pending = data(empty, "migrate", "--dry-run", "--region", "us", status=NO)["migrations"]
        assert {row["state"] for row in pending} == {"pending"}
        assert other.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0
        assert "001_plist.sql" in ask(empty, "migrate", "--region", "us").stderr
        ask(empty, "migrate", "--status", "--region", "us")
    finally:
        other.close()
        database.execute("DROP DATABASE fresh WITH (FORCE)")
        database.close()


def test_migrate_of_one_region_leaves_the_others_alone(empty):
    assert {row["region"] for row in data(empty, "migrate", "--region", "eu", "--dry-run")["migrations"]} == {"eu"}


def test_migrate_says_which_region_is_down_and_does_the_others(empty):
    empty.postgres["eu"].stop()
    done = ask(empty, "migrate", status=PARTIAL)
    assert "eu: the database is unavailable" in done.stderr


def test_nothing_reachable_is_another_status_than_something(empty):
    for server in empty.postgres.values():
        server.stop()
    for command in (["migrate"], ["dead-letters", "list"], ["conflicts", "list"], ["seed"]):
        ask(empty, *command, status=UNREACHABLE)


def test_a_database_that_was_never_migrated_is_named(empty):
    empty.database("us").execute("ALTER TABLE plist.dead_letters RENAME TO away")
    try:
        assert "run 'plist-admin migrate'" in ask(empty, "dead-letters", "list", status=NO).stderr
    finally:
        empty.database("us").execute("ALTER TABLE plist.away RENAME TO dead_letters")


# ---- seed


def rows(stack, region):
    return stack.database(region).rows("SELECT p::text FROM properties AS p ORDER BY id")


def test_seed_files_give_all_regions_the_same_bytes_and_may_be_loaded_twice(empty):
    first = data(empty, "seed")["seeded"]
    assert sorted((row["region"], row["source"], row["added"]) for row in first) == [
        ("eu", "eu_seed.sql", 500), ("eu", "us_seed.sql", 500), ("us", "eu_seed.sql", 500), ("us", "us_seed.sql", 500)]
    us = rows(empty, "us")
    assert us == rows(empty, "eu")
    assert empty.database("us").rows("SELECT region_origin, min(id), max(id), count(*) FROM properties GROUP BY 1 ORDER BY 2") == \
        [("us", 1, 500, 500), ("eu", 501, 1000, 500)]
    assert all(row["added"] == 0 for row in data(empty, "seed")["seeded"])
    assert rows(empty, "us") == us
    assert empty.database("us").outbox() == 0


def test_seed_files_are_one_transaction_each(empty, tmp_path):
    bad = tmp_path / "bad.sql"
    bad.write_text("INSERT INTO properties (id, price, region_origin) VALUES (1, 1, 'us'); INSERT INTO properties (id) VALUES (2);")
    done = ask(empty, "seed", "--file", bad, status=NO)
    assert str(bad) in done.stderr
    assert rows(empty, "us") == []


def test_generated_rows_are_the_same_everywhere_and_replace_nothing(empty):
    ask(empty, "seed")
    seeded = rows(empty, "us")
    done = ask(empty, "seed", "--rows", "25000")
    assert "are identical in 2 regions" in done.stderr
    us = rows(empty, "us")
    assert len(us) == 25000 and us == rows(empty, "eu")
    assert us[:1000] == seeded
    assert empty.database("eu").value(
        "SELECT count(*) FROM properties WHERE version <> 1 OR vector <> jsonb_build_object(region_origin, 1) OR price < 0 "
        "OR bedrooms NOT BETWEEN 0 AND 100 OR bathrooms NOT BETWEEN 0 AND 100") == 0


def test_a_seed_that_was_stopped_goes_on_where_it_was(empty):
    argv = [places.program("plist-admin"), "--config", empty.config, "seed", "--rows", "300000", "--region", "us"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until("some rows are there", lambda: empty.database("us").value("SELECT count(*) FROM properties") > 0)
    process.send_signal(signal.SIGINT)
    process.wait(10)
    part = empty.database("us").value("SELECT count(*) FROM properties")
    assert 0 < part < 300000
    row = data(empty, "seed", "--rows", "300000", "--region", "us")["seeded"][0]
    assert (row["added"], row["rows"]) == (300000 - part, 300000)
    assert empty.database("us").value("SELECT count(*) FROM properties") == 300000


def test_regions_that_differ_after_seeding_are_reported(empty):
    ask(empty, "seed", "--rows", "1000")
    empty.database("eu").execute("UPDATE properties SET price = 1 WHERE id = 7")
    assert "us and eu differ" in ask(empty, "seed", "--rows", "1000", status=NO).stderr


def test_seeding_shows_a_bar_on_a_terminal_and_lines_elsewhere(empty):
    argv = [places.program("plist-admin"), "--config", empty.config, "seed", "--rows", "40000", "--region", "us"]
    status, drawn = on_a_terminal(argv, os.environ | {"TERM": "xterm"})
    assert status == YES
    assert "\r" in drawn and "[####" in drawn and "40,000 of 40,000" in drawn
    done = ask(empty, "seed", "--rows", "40000", "--region", "eu")
    assert "\r" not in done.stderr and "[#" not in done.stderr and "40,000 of 40,000" in done.stderr


def test_seed_makes_rows_of_any_resource(empty):
    for server in empty.postgres.values():
        server.database.execute("DROP TABLE IF EXISTS boats")
        server.database.execute(
            "CREATE TABLE boats (id BIGINT PRIMARY KEY, name VARCHAR(12) NOT NULL, length NUMERIC(6,3) CHECK (length BETWEEN 2.5 AND 9), "
            "sold BOOLEAN, crew INTEGER CHECK (crew >= -1), region_origin VARCHAR(32) NOT NULL, version INTEGER NOT NULL, "
            "updated_at TIMESTAMPTZ NOT NULL, vector JSONB NOT NULL, deleted_at TIMESTAMPTZ, has_siblings BOOLEAN NOT NULL DEFAULT false, "
            "field_times JSONB, request_id VARCHAR(255))")

    def boats(config):
        config["resources"]["boats"] = {
            "topic": "boats", "policy": "policies/field_merge.lua", "track_fields": True,
            "fields": {"name": {"type": "string", "required": True, "max_length": 12},
                       "length": {"type": "decimal", "precision": 6, "scale": 3, "min": 2.5, "max": 9},
                       "sold": {"type": "boolean"}, "crew": {"type": "integer", "min": -1}}}
    empty.write_config(boats)
    ask(empty, "seed", "--rows", "3000", "--resource", "boats")
    names, distinct, nulls = empty.database("us").rows(
        "SELECT count(name), count(DISTINCT length), count(*) - count(sold) FROM boats "
        "WHERE field_times ?& array['name', 'length', 'sold', 'crew']")[0]
    assert names == 3000 and distinct > 1000 and 50 < nulls < 1000
    assert rows(empty, "us") == []


def test_ids_that_plist_gives_out_are_never_seeded(empty):
    empty.write_config(lambda config: config["regions"]["us"].update(id_base=1000))
    assert "id_base" in ask(empty, "seed", "--rows", "1001", status=USAGE).stderr


ROOMS = """kafka: {{ brokers: "127.0.0.1:1" }}
regions: {{ us: {{ listen: "127.0.0.1:1", database: "{url}" }} }}
resources:
  rooms:
    topic: rooms
    policy: policies/region_order.lua
    fields: {{ name: {{ type: string }}, beds: {{ type: integer }}, rate: {{ type: decimal }} }}
routes: [ {{ method: GET, path: "/:region/rooms/:id", handler: handlers/room_get.lua }} ]
"""


def another_application(empty, folder):
    """Another application: its YAML, and its Lua directory without policies."""
    (folder / "conf").mkdir()
    (folder / "lua" / "handlers").mkdir(parents=True)
    (folder / "conf" / "plist.yaml").write_text(ROOMS.format(url=empty.database("us").url))
    shutil.copy(places.TOP / "lua" / "handlers" / "property_get.lua", folder / "lua" / "handlers" / "room_get.lua")
    return folder / "conf" / "plist.yaml"


def test_another_application_finds_the_shipped_policies_and_not_the_shipped_seeds(empty, tmp_path):
    config = another_application(empty, tmp_path)
    assert run_admin("config", "check", config=config, check=False).returncode == YES
    before = rows(empty, "us")
    alone = run_admin("seed", config=config, check=False)
    assert alone.returncode == USAGE and "--file" in alone.stderr
    (tmp_path / "seeds").mkdir()
    for file in (places.TOP / "seeds").glob("*.sql"):
        shutil.copy(file, tmp_path / "seeds")
    foreign = run_admin("seed", config=config, check=False)
    assert foreign.returncode == USAGE and "does not write to any table of this configuration" in foreign.stderr
    assert rows(empty, "us") == before


def test_a_policy_is_checked_from_any_folder_with_the_fields_that_it_names(empty, tmp_path):
    config = another_application(empty, tmp_path)
    (tmp_path / "lua" / "policies").mkdir()
    (tmp_path / "lua" / "policies" / "most_beds.lua").write_text(
        "return { name = 'most_beds', doc = 'The most beds.', resolve = function(rows)\n"
        "  local best = #rows\n"
        "  for i, row in ipairs(rows) do if (row.fields.beds or 0) > (rows[best].fields.beds or 0) then best = i end end\n"
        "  return require('plist.policy').take(best) end }\n")
    for name in ("policies/most_beds.lua", "lua/policies/most_beds.lua"):
        done = subprocess.run([places.program("plist-admin"), "--config", config, "policy", "check", name], cwd="/", capture_output=True,
                              text=True, check=False)
        assert done.returncode == YES and "two values of beds at the same time" in done.stdout, done
        assert "two values of rate" not in done.stdout
    shipped = run_admin("policy", "check", "policies/last_writer_wins.lua", config=config, check=False)
    assert shipped.returncode == YES, shipped
    missing = run_admin("policy", "check", "policies/none.lua", config=config, check=False)
    assert missing.returncode == USAGE and str(tmp_path / "lua") in missing.stderr


def test_help_and_version_are_understood_at_any_place(tmp_path):
    config = str(tmp_path / "none.yaml")
    for arguments in (["--config", config, "help"], ["help", "--config", config, "lag"], ["conflicts", "help"], ["-o", "json", "help", "conflicts", "list"]):
        assert run_admin(*arguments).stdout.startswith("usage: plist-admin"), arguments
    assert run_admin("--config", config, "--version").stdout == run_admin("version").stdout


def test_words_out_of_a_list_are_checked(empty):
    assert "update_deleted" in ask(empty, "conflicts", "list", "--type", "foo", status=USAGE).stderr
    unknown = ask(empty, "conflicts", "list", "--resource", "propertis", status=USAGE)
    assert "did you mean properties?" in unknown.stderr and "no conflicts" not in unknown.stdout + unknown.stderr
    assert "there is no resource 'foo'" in ask(empty, "record", "reset", "foo/7", "--yes", status=USAGE).stderr
    assert "such as us/12" in ask(empty, "parked", "retry", "us/0", status=USAGE).stderr
    assert "did you mean properties?" in ask(empty, "policy", "check", "x.lua", "--resource", "propertis", status=USAGE).stderr
