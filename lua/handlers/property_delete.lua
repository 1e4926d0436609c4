--- DELETE /:region/properties/:id: deletes a property, unless it has changed since the
--- client read it.
local records = require "plist.records"
local http = require "plist.http"

return {
  name = "property_delete",
  doc = "The end of a property.",

  handle = function(req)
    local property, err = records.delete("properties", req.params.id, req.lock)
    if not property then return http.problem(err) end
    return http.no_content()
  end,
}
