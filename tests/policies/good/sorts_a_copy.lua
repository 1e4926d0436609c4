-- expect: accepted
local policy = require "plist.policy"

return {
  name = "sorts_a_copy", doc = "The cheapest; of equals the one with the higher version.",
  resolve = function(rows)
    local sorted = table.move(rows, 1, #rows, 1, {})
    table.sort(sorted, function(a, b)
      if a.fields.price ~= b.fields.price then return a.fields.price < b.fields.price end
      return a.version > b.version
    end)
    for i, row in ipairs(rows) do
      if row == sorted[1] then return policy.take(i) end
    end
  end,
}
