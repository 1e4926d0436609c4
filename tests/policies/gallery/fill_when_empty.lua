-- expect: accepted
-- "Take the other's value where mine is empty": in other systems "mine" differs from
-- region to region.
local policy = require "plist.policy"
return {
  name = "fill_when_empty", doc = "The first write, its empty fields filled by the next that has them.",
  resolve = function(rows)
    local merged = {}
    for _, name in ipairs { "price", "bedrooms", "bathrooms" } do
      for i = 1, #rows do
        if merged[name] == nil then merged[name] = rows[i].fields[name] end
      end
    end
    return policy.merge(merged)
  end,
}
