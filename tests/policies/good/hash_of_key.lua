-- expect: accepted
-- Pseudo-random, and the same in every region.
local policy = require "plist.policy"
return {
  name = "hash_of_key", doc = "A row by a hash of the record's id.",
  resolve = function(rows, ctx) return policy.take(ctx.key * 2654435761 % #rows + 1) end,
}
