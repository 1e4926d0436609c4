-- expect: not_deterministic
-- The same in a global.
local policy = require "plist.policy"
calls = 0
return {
  name = "counts_in_a_global", doc = "Every writer in turn.",
  resolve = function(rows)
    calls = calls + 1
    return policy.take(calls % #rows + 1)
  end,
}
