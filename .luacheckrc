-- What luacheck holds the Lua tree to. Everything runs in the sandbox, so a global that the sandbox lacks is an error here, too.
std = "lua54"
max_line_length = 160
codes = true
-- Arguments that a callback must name are not all used.
unused_args = false

local sandboxed = {
  "assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen", "rawset", "require", "select", "setmetatable",
  "getmetatable", "tonumber", "tostring", "type", "_VERSION", "math", "string", "table", "utf8",
}
local with_clock = { "os" } -- what time it is, and nothing else of it
for _, name in ipairs(sandboxed) do with_clock[#with_clock + 1] = name end
files["lua/handlers"] = { std = "none", read_globals = with_clock }
files["lua/policies"] = { std = "none", read_globals = sandboxed }
files["lua/plist"] = { std = "none", read_globals = sandboxed }
-- What specs require runs beside busted, outside of the sandbox.
files["lua/plist/spec.lua"] = { std = "lua54" }
-- A table of hostile scripts reads better with a case on each line.
files["tests/spec"] = { std = "+busted", max_line_length = false }
