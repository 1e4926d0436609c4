-- expect: not_total
local policy = require "plist.policy"
return {
  name = "changes_its_rows", doc = "Changes the rows that it was given.",
  resolve = function(rows) rows[1].fields.bedrooms = 1 return policy.take(1) end,
}
