--- GET /:region/properties: lists properties by id, page by page, with filters such as
--- min_price=100000&bedrooms=3.
local records = require "plist.records"
local http = require "plist.http"

return {
  name = "property_list",
  doc = "A page of properties, in the order of their ids.",

  handle = function(req)
    local page, next_id = records.list("properties", {
      limit = req.query.limit,
      after = req.query.after,
      filters = req.query,
    })
    if not page then return http.problem(next_id) end
    return http.list(page, next_id)
  end,
}
