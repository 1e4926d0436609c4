-- expect: not_total
local policy = require "plist.policy"
return { name = "rolls_dice", doc = "By chance.", resolve = function(rows) return policy.take(math.random(#rows)) end }
