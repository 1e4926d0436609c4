-- expect: not_deterministic
-- Keeps a counter in an upvalue, and so takes turns.
local policy = require "plist.policy"
local calls = 0
return {
  name = "counts_calls", doc = "Every writer in turn.",
  resolve = function(rows)
    calls = calls + 1
    return policy.take(calls % #rows + 1)
  end,
}
