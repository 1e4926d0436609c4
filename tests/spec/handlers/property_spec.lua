-- The handlers of the reference application, with a store in memory.
local host = require "plist.host"

local function open()
  local vm = assert(host.vm { world = "handler", root = (os.getenv("PL_TOP_SRCDIR") or ".") .. "/lua" })
  vm:put(7, "500000.00", "3", 1)
  return vm
end

describe("property_get", function()
  it("answers the record and its entity tag", function()
    local answer = open():request("handlers/property_get.lua", { id = "7" })
    assert.equal(200, answer.status)
    assert.truthy(answer.body:find('^{"id":7,"price":500000.00,"bedrooms":3,'))
    assert.equal('"us:1"', answer.headers.ETag)
  end)

  it("answers 404 for a record that does not exist, or for an id that cannot exist", function()
    for _, id in ipairs { "8", "0", "-7", "7x", "", "99999999999999999999", "7.0", " 7" } do
      local answer = open():request("handlers/property_get.lua", { id = id })
      assert.equal(404, answer.status, id)
      assert.equal("Property not found", answer.title)
    end
  end)
end)

describe("property_list", function()
  local function list(target)
    local vm = open()
    for i = 1, 5 do vm:put(100 + i, "1.00", nil, 1) end
    return vm:request("handlers/property_list.lua", { target = target }), vm:sql()
  end

  it("answers a page and a link to the next one", function()
    local answer, sql = list "/us/properties?limit=3&after=1&min_price=2.50&bedrooms=3"
    assert.equal(200, answer.status)
    assert.equal("list properties after 1 limit 3 bedrooms=3 price>=2.50", sql)
    assert.equal('</us/properties?limit=3&min_price=2.50&bedrooms=3&after=3>; rel="next"', answer.headers.Link)
    assert.equal("[", answer.body:sub(1, 1))
  end)

  it("answers no link on the last page", function()
    local answer, sql = list "/us/properties"
    assert.is_nil(answer.headers.Link)
    assert.equal("list properties after 0 limit 50", sql)
  end)

  it("answers [] if there are no records", function()
    local vm = assert(host.vm { world = "handler", root = (os.getenv("PL_TOP_SRCDIR") or ".") .. "/lua" })
    assert.equal("[]", vm:request("handlers/property_list.lua", { target = "/us/properties" }).body)
  end)

  it("answers 400 with every fault of the query", function()
    local answer = list "/us/properties?limit=501&after=x&min_price=cheap&max_bedrooms=1.5&colour=red"
    assert.equal(400, answer.status)
    for _, name in ipairs { "limit", "after", "min_price", "max_bedrooms", "colour" } do
      assert.truthy(answer.faults["?" .. name], name)
    end
    assert.equal(400, list("/us/properties?limit=0").status)
    assert.equal(200, list("/us/properties?limit=500&max_price=-1").status)
  end)
end)

describe("property_create", function()
  local function create(body, vm)
    return (vm or open()):request("handlers/property_create.lua", { method = "POST", body = body })
  end

  it("answers 201, the record and its location", function()
    local answer = create '{"price":750000.5,"bedrooms":4}'
    assert.equal(201, answer.status)
    assert.equal("/us/properties/1000", answer.headers.Location)
    assert.truthy(answer.body:find('"price":750000.50,', 1, true))
    assert.equal('"us:1"', answer.headers.ETag)
  end)

  it("accepts an id that the client chooses, once", function()
    local vm = open()
    assert.equal("/us/properties/42", create('{"id":42,"price":1}', vm).headers.Location)
    local answer = create('{"id":42,"price":1}', vm)
    assert.equal(409, answer.status)
    assert.equal("Property already exists", answer.title)
  end)

  it("answers 400 for an invalid body and lists every fault", function()
    assert.equal(400, create(nil).status)
    assert.equal(400, create("[]").status)
    local answer = create '{"bedrooms":101,"id":0,"version":1,"x":null}'
    assert.equal(400, answer.status)
    for _, pointer in ipairs { "/price", "/bedrooms", "/id", "/version", "/x" } do
      assert.truthy(answer.faults[pointer], pointer)
    end
  end)
end)

describe("property_put", function()
  local function put(request, vm)
    request.method, request.id = "PUT", request.id or "7"
    return (vm or open()):request("handlers/property_put.lua", request)
  end

  it("answers the whole changed record", function()
    local answer = put { body = '{"price":600000.0,"version":1}' }
    assert.equal(200, answer.status)
    assert.truthy(answer.body:find('"price":600000.00,"bedrooms":3,', 1, true))
    assert.equal('"us:2"', answer.headers.ETag)
  end)

  it("accepts If-Match as a lock", function()
    assert.equal(200, put({ body = '{"price":1}', if_match = '"us:1"' }).status)
    assert.equal(412, put({ body = '{"price":1}', if_match = '"us:2"' }).status)
    assert.equal(412, put({ body = '{"price":1}', if_match = 'W/"us:1"' }).status)
  end)

  it("answers 409 with the current version, 428 without a lock, 404 without a record", function()
    local answer = put { body = '{"price":1,"version":2}' }
    assert.equal(409, answer.status)
    assert.equal("Conflict: version mismatch", answer.title)
    assert.equal(1, answer.current_version)
    assert.equal(428, put({ body = '{"price":1}' }).status)
    assert.equal(404, put({ body = '{"price":1,"version":1}', id = "8" }).status)
  end)

  it("answers 400 before it looks for the record", function()
    assert.equal(400, put({ body = '{"price":"1","version":1}', id = "8" }).status)
    assert.equal(400, put({ body = '{"version":1}' }).status)
    assert.equal(400, put({ body = '{"price":1,"version":"1"}' }).status)
    assert.equal(400, put({ body = '{"price":1,"version":0}' }).status)
    assert.equal(400, put({ body = '{"price":1,"version":1,"id":8}' }).status)
    assert.equal(200, put({ body = '{"price":1,"version":1,"id":7}' }).status)
  end)

  it("answers a retry with 422, and another request under the same id with another 422", function()
    local vm = open()
    assert.equal(200, put({ body = '{"price":1,"version":1}', request_id = "a" }, vm).status)
    assert.equal("Duplicate request", put({ body = '{"price":1,"version":1}', request_id = "a" }, vm).title)
    local reused = put({ body = '{"price":2,"version":1}', request_id = "a" }, vm)
    assert.equal("Request ID reused with a different request", reused.title)
  end)
end)

describe("property_delete", function()
  it("answers 204 with neither body nor tag, and the record is gone", function()
    local vm = open()
    local answer = vm:request("handlers/property_delete.lua", {
      method = "DELETE", id = "7", target = "/us/properties/7?version=1",
    })
    assert.equal(204, answer.status)
    assert.equal("", answer.body)
    assert.is_nil(answer.headers.ETag)
    assert.equal(404, vm:request("handlers/property_get.lua", { id = "7" }).status)
  end)

  it("needs a lock", function()
    local function delete(target, if_match)
      return open():request("handlers/property_delete.lua", {
        method = "DELETE", id = "7", target = target, if_match = if_match,
      }).status
    end
    assert.equal(428, delete "/us/properties/7")
    assert.equal(409, delete "/us/properties/7?version=2")
    assert.equal(400, delete "/us/properties/7?version=one")
    assert.equal(400, delete "/us/properties/7?version=99999999999")
    assert.equal(204, delete("/us/properties/7", '"us:1"'))
    assert.equal(412, delete("/us/properties/7", '"us:9"'))
  end)
end)
