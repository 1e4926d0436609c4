-- expect: accepted
-- "The source's row, unless it says the same": elsewhere the source is whoever sent last. Here the last in canonical order stands for it.
local policy = require "plist.policy"
return {
  name = "source_wins_unless_equal", doc = "The last, unless its price is that of the first.",
  resolve = function(rows)
    local first, last = rows[1], rows[#rows]
    if not first.deleted and not last.deleted and first.fields.price == last.fields.price then return policy.take(1) end
    return policy.take(#rows)
  end,
}
