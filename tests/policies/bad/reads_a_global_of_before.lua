-- expect: not_total
local policy = require "plist.policy"
return {
  name = "reads_a_global_of_before", doc = "A counter in a global that was never set.",
  resolve = function(rows)
    calls = (calls or 0) + 1
    return policy.take(calls % #rows + 1)
  end,
}
