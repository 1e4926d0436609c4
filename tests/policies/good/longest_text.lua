-- expect: accepted
-- pairs, string functions, tostring of numbers: allowed functions return the same on
-- every machine.
local policy = require "plist.policy"
return {
  name = "longest_text", doc = "The write whose fields are longest as text.",
  resolve = function(rows)
    local best, longest = 1, -1
    for i = 1, #rows do
      local parts = {}
      for name, value in pairs(rows[i].fields) do parts[#parts + 1] = name .. "=" .. tostring(value) end
      local length = #table.concat(parts, ",")
      if length >= longest then best, longest = i, length end
    end
    return policy.take(best)
  end,
}
