--- The write with the latest time is shown. Rows come oldest first, equal times in the order of their regions: it is the last
--- one.
local policy = require "plist.policy"

return {
  name = "last_writer_wins",
  doc = "The latest write; of equal times, the one of the last region by name.",
  resolve = function(rows) return policy.take(#rows) end,
}
