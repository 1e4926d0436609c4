--- A record that one region has deleted stays deleted, whatever other regions wrote at
--- that time.
local policy = require "plist.policy"

return {
  name = "delete_wins",
  doc = "A delete, if there is one; otherwise the latest write.",

  resolve = function(rows)
    for i = #rows, 1, -1 do
      if rows[i].deleted then return policy.take(i) end
    end
    return policy.take(#rows)
  end,
}
