--- GET /:region/properties/:id: returns a property as this region has it.
local records = require "plist.records"
local http = require "plist.http"

return {
  name = "property_get",
  doc = "One property by its id.",

  handle = function(req)
    local property, err = records.get("properties", req.params.id)
    if not property then return http.problem(err) end
    return http.ok(property)
  end,
}
