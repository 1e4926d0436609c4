"""Helpers that model the processes of a plist deployment, shared by the integration tests and by ./run.

Python 3.11 of Debian, with psycopg2 and PyYAML. Each file models one thing:

  process.py    a server process: start, stop, kill, pause, wait
  postgres.py   a PostgreSQL cluster          kafka.py   Apache Kafka, the embedded broker, and kcat
  plistd.py     the daemon, and the tool      nginx.py   NGINX with the generated configuration
  stack.py      all of them together          client.py  HTTP with request ids and exact numbers
  database.py   contents of the tables        places.py  paths of programs, jars and data
  front.py      NGINX before fake daemons     *.sh       the steps of ./run
"""
