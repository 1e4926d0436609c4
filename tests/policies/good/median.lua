-- expect: accepted
local policy = require "plist.policy"
return {
  name = "median", doc = "The write with the median price.",
  resolve = function(rows)
    local order = {}
    for i = 1, #rows do order[i] = i end
    table.sort(order, function(a, b)
      local x, y = rows[a].fields.price, rows[b].fields.price
      if x ~= y then return x < y end
      return a < b
    end)
    return policy.take(order[(#order + 1) // 2])
  end,
}
