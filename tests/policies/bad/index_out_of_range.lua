-- expect: not_valid
local policy = require "plist.policy"
return { name = "index_out_of_range", doc = "The third.", resolve = function() return policy.take(3) end }
