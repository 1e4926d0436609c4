-- expect: not_deterministic
-- The same behind a metatable.
local policy = require "plist.policy"
local count = setmetatable({}, { __index = function(t, k) local n = rawget(t, "n") or 0 rawset(t, "n", n + 1) return n end })
return {
  name = "counts_in_a_metatable", doc = "Every writer in turn.",
  resolve = function(rows)
    return policy.take(count.next % #rows + 1)
  end,
}
