--- The latest write wins. Rows come oldest first, and equal times in the order of their
--- regions, so the latest is the last row.
local policy = require "plist.policy"

return {
  name = "last_writer_wins",
  doc = "The latest write; of equal times, the one of the last region by name.",
  resolve = function(rows) return policy.take(#rows) end,
}
