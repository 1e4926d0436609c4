-- expect: accepted
-- Each field as most have it. Counts by text, since decimals are no keys; pairs goes through texts in their order.
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
  name = "majority", doc = "Each field as most of the writes have it.",
  resolve = function(rows)
    local fields = {}
    for _, row in ipairs(rows) do
      for name in pairs(row.fields) do fields[name] = most(rows, name) end
    end
    return policy.merge(fields)
  end,
}
