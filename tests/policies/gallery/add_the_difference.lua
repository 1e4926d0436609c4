-- expect: accepted
-- "Add what the other region has changed": adds up the changes of all rows, within the
-- bounds of the field.
local policy = require "plist.policy"
return {
  name = "add_the_difference", doc = "The first write's bedrooms plus the differences of the others.",
  resolve = function(rows)
    local total, first = 0, rows[1].fields.bedrooms or 0
    for i = 2, #rows do total = total + (rows[i].fields.bedrooms or 0) - first end
    local bedrooms = math.max(0, math.min(100, first + total))
    return policy.merge { price = rows[#rows].fields.price, bedrooms = bedrooms, bathrooms = rows[#rows].fields.bathrooms }
  end,
}
