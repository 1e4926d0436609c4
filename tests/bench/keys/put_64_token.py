"""PUT/s with credentials. Measured by get_64_key."""

from keys import Key

KEY = Key("PUT/s, 64 connections, with an ES256 token that was verified before",
          "the same without credentials", 0.9, 0.97)
