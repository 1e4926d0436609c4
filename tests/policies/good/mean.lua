-- expect: accepted
-- A mean is not associative, as merging in pairs would require, but it is pure.
local policy = require "plist.policy"
local decimal = require "plist.decimal"
return {
  name = "mean", doc = "The mean of the prices; the other fields of the latest.",
  resolve = function(rows)
    local sum, n, last = decimal.new("0"), 0, nil
    for i = 1, #rows do
      if not rows[i].deleted then
        sum, n, last = sum + rows[i].fields.price, n + 1, rows[i]
      end
    end
    if not last then return policy.take(#rows) end
    return policy.merge { price = sum:div(decimal.new(n), 2), bedrooms = last.fields.bedrooms, bathrooms = last.fields.bathrooms }
  end,
}
