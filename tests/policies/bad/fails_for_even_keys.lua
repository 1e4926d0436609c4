-- expect: not_valid
-- Counts rows from 0, which fails for one record in two or three.
local policy = require "plist.policy"
return {
  name = "fails_for_even_keys", doc = "A row by the record's id.",
  resolve = function(rows, ctx) return policy.take(ctx.key % #rows) end,
}
