--- PUT /:region/properties/:id: changes the fields that the body names, unless the
--- property has changed since the client read it.
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
