--- Each field comes from the latest write of that field: a new price in one region and a new bedroom count in another are both
--- kept. Needs `track_fields: true` of the resource; without it a field counts as written when its row was.
local policy = require "plist.policy"

--- When and where the field of a row was last changed.
local function changed(row, name)
  local field = row.fields_updated and row.fields_updated[name]
  if field then return field.at, field.origin end
  return row.updated_at, row.origin
end

--- Whether the field of row a was changed after that of row b; of equal times, the later region by name.
local function later(a, b, name)
  local at_a, origin_a = changed(a, name)
  local at_b, origin_b = changed(b, name)
  if at_a ~= at_b then return at_a > at_b end
  return origin_a >= origin_b
end

--- The row that a field's value is taken from.
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
