--- The highest price wins. A property that still exists wins over one that was deleted.
local policy = require "plist.policy"

return {
  name = "highest_price",
  doc = "The highest price; the later of equals.",

  resolve = function(rows)
    local best = 1
    for i = 2, #rows do
      local row, top = rows[i], rows[best]
      if not row.deleted and (top.deleted or row.fields.price >= top.fields.price) then best = i end
    end
    return policy.take(best)
  end,
}
