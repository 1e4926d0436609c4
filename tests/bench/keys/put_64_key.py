"""PUT/s with credentials. Measured by get_64_key."""

from keys import Key

KEY = Key("PUT/s, 64 connections, with an API key",
          "the same without credentials", 0.95, 0.98)
