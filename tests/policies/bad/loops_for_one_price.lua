-- expect: over_budget
-- Only the file itself says which price it is.
local policy = require "plist.policy"
local decimal = require "plist.decimal"
return {
  name = "loops_for_one_price", doc = "Never ends for one price.",
  resolve = function(rows)
    for _, row in ipairs(rows) do
      while row.fields.price == decimal "6666.66" do end
    end
    return policy.take(1)
  end,
}
