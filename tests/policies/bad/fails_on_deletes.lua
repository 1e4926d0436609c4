-- expect: not_total
-- Forgets that one of the writes may be a delete.
local policy = require "plist.policy"
return {
  name = "fails_on_deletes", doc = "The highest price.",
  resolve = function(rows)
    local best = 1
    for i = 2, #rows do
      local row = rows[i]
      local price = not row.deleted and row.fields.price or nil
      if price > rows[best].fields.price then best = i end
    end
    return policy.take(best)
  end,
}
