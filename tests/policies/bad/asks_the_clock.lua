-- expect: not_total
local policy = require "plist.policy"
return { name = "asks_the_clock", doc = "By the time of day.", resolve = function(rows) return policy.take(os.time() % #rows + 1) end }
