--- For specs of policies: calls a policy in the sandbox in which it will run, and returns
--- the record that results.
---
---   local resolve = require("plist.spec").policy "policies/highest_price.lua"
---   local shown = resolve {                        -- the concurrent rows, oldest first
---     { origin = "us", price = "600000.00" },
---     { origin = "eu", price = "500000.00", bedrooms = 3 },
---   }
---   assert.equal("us", shown.origin)
---
--- It needs the spec host (plist-spec), which provides the module plist.host. See
--- plist-policies(7).
local host = require "plist.host"

local spec = {}

--- The members of a row that are not fields.
local other = { origin = true, at = true, counter = true, deleted = true, request_id = true, fields_updated = true }

--- { price = { at = 5, origin = "us" } } as the JSON that a region stores.
local function field_times(updated)
  local members = {}
  for name, change in pairs(updated) do
    members[#members + 1] = ('"%s":{"at":%d,"origin":"%s"}'):format(name, change.at, change.origin)
  end
  return "{" .. table.concat(members, ",") .. "}"
end

--- Rows in the form that the host takes. Checks the order on which policies may rely.
local function prepare(rows)
  local ready = {}
  for i, row in ipairs(rows) do
    local copy = {}
    for name, value in pairs(row) do copy[name] = value end
    copy.at = row.at or i * 1000000
    copy.counter = row.counter or i
    copy.field_times = row.fields_updated and field_times(row.fields_updated)
    local before = ready[i - 1]
    if before and (copy.at < before.at or copy.at == before.at and copy.origin < before.origin) then
      error("rows must be in canonical order: oldest first, equal times by the name of their origin", 3)
    end
    ready[i] = copy
  end
  return ready
end

--- The result of taking a row: its fields, origin, deleted, at, and its index in `row`.
local function taken(rows, i)
  local shown = { row = i }
  for name, value in pairs(rows[i]) do shown[name] = value end
  return shown
end

--- The result of a merge: its fields, and merged = true. Time and origin are those of the
--- last row.
local function merged(rows, fields)
  local last = rows[#rows]
  local shown = { merged = true, origin = last.origin, at = last.at, deleted = false }
  for name, value in pairs(fields) do
    assert(not other[name], "a field cannot be called " .. name)
    shown[name] = value
  end
  return shown
end

--- Returns a function that calls the policy at `path` (under the Lua root, by default
--- lua/ of the source tree) with rows. It returns the record that results, or nil and a
--- sentence when the verdict is not valid. Values of fields are texts, as PostgreSQL
--- prints them.
function spec.policy(path, root)
  local vm, problems = host.vm { world = "policy", root = root or (os.getenv("PL_TOP_SRCDIR") or ".") .. "/lua", policy = path }
  if not vm then error(table.concat(problems, "\n"), 2) end
  return function(rows)
    rows = prepare(rows)
    local verdict, _, sentence = vm:resolve(path, rows)
    if not verdict then return nil, sentence end
    if verdict.take then return taken(rows, verdict.take) end
    return merged(rows, verdict.merge)
  end
end

return spec
