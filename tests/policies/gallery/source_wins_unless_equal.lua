-- expect: accepted
-- "The source's row, unless it is equal": in other systems the source is the region that
-- sent last. Here it is the last row in canonical order.
local policy = require "plist.policy"
return {
  name = "source_wins_unless_equal", doc = "The last, unless its price equals the first one's.",
  resolve = function(rows)
    local first, last = rows[1], rows[#rows]
    if not first.deleted and not last.deleted and first.fields.price == last.fields.price then return policy.take(1) end
    return policy.take(#rows)
  end,
}
