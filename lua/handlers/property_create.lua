--- POST /:region/properties: creates a property. The body may give its id; else the
--- region assigns one of its range.
local records = require "plist.records"
local http = require "plist.http"

return {
  name = "property_create",
  doc = "A new property.",

  handle = function(req)
    local property, err = records.create("properties", req.body)
    if not property then return http.problem(err) end
    return http.created(property)
  end,
}
