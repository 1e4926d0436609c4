-- expect: accepted
-- The most frequent value of each field. Counts by text, since decimals cannot be keys;
-- pairs visits texts in order.
local policy = require "plist.policy"

local function most(rows, name)
  local count, value, best = {}, {}, nil
  for _, row in ipairs(rows) do
    local text = tostring(row.fields[name])
    count[text] = (count[text] or 0) + 1
    value[text] = row.fields[name]
  end
  for text, n in pairs(count) do
    if not best or n > count[best] then best = text end
  end
  return value[best]
end

return {
  name = "majority", doc = "The most frequent value of each field.",
  resolve = function(rows)
    local fields = {}
    for _, row in ipairs(rows) do
      for name in pairs(row.fields) do fields[name] = most(rows, name) end
    end
    return policy.merge(fields)
  end,
}
