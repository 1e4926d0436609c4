--- Each field comes from the latest write of that field. If one region changes the price
--- and another the bedrooms, both changes are kept. The resource needs `track_fields:
--- true`; without it, a field counts as written when its row was.
local policy = require "plist.policy"

--- When and where the field of a row was last changed.
local function changed(row, name)
  local field = row.fields_updated and row.fields_updated[name]
  if field then return field.at, field.origin end
  -- Tracked, null, and never changed: the writer may not even know the field.
  if row.fields_updated and row.fields[name] == nil then return 0, "" end
  return row.updated_at, row.origin
end

--- Whether the field changed later in row a than in row b. Equal times are decided by the
--- names of the regions.
local function later(a, b, name)
  local at_a, origin_a = changed(a, name)
  local at_b, origin_b = changed(b, name)
  if at_a ~= at_b then return at_a > at_b end
  return origin_a >= origin_b
end

--- The row with the latest write of a field.
local function latest_of(rows, name)
  local best
  for _, row in ipairs(rows) do
    if not row.deleted and (not best or later(row, best, name)) then best = row end
  end
  return best
end

return {
  name = "field_merge",
  doc = "Each field from the latest write of that field; a delete only if it is the latest write of all.",

  resolve = function(rows)
    if rows[#rows].deleted then return policy.take(#rows) end
    local merged = {}
    for _, row in ipairs(rows) do
      for name in pairs(row.fields) do merged[name] = latest_of(rows, name).fields[name] end
    end
    return policy.merge(merged)
  end,
}
