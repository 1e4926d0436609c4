--- PUT /:region/properties/:id: changes the fields that the body names, if nobody changed the property in between.
local records = require "plist.records"
local http = require "plist.http"

return {
  name = "property_put",
  doc = "A change of a property.",

  handle = function(req)
    local property, err = records.update("properties", req.params.id, req.body, req.lock)
    if not property then return http.problem(err) end
    return http.ok(property)
  end,
}
