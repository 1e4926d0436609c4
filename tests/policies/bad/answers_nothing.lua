-- expect: not_valid
-- No row has the higher price if both are equal.
local policy = require "plist.policy"
return {
  name = "answers_nothing", doc = "The strictly higher price.",
  resolve = function(rows)
    for i = 1, #rows do
      local higher = true
      for j = 1, #rows do
        if j ~= i and rows[j].fields.price >= rows[i].fields.price then higher = false end
      end
      if higher then return policy.take(i) end
    end
  end,
}
