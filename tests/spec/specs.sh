#!/bin/sh
# All busted specs, in Lua 5.4 and with the production sandbox; prints TAP.
cd "${PL_TOP_SRCDIR:-.}" || exit 99
exec "${PL_TOP_BUILDDIR:-.}/tests/spec/host/plist-spec" -o TAP --pattern=_spec tests/spec
