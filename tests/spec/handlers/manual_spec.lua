-- plist-handlers(7): the code of the walk-through does what the page says.
local host = require "plist.host"
local manual = require "manual"

describe("the walk-through of plist-handlers(7)", function()
  local path = "handlers/price_per_bedroom.lua"
  local vm = assert(host.vm { world = "handler", files = { [path] = manual.file("plist-handlers.7", path) } })
  vm:put(7, "500000.00", "3", 1)
  vm:put(8, "500000.00", nil, 1)
  vm:put(9, "500000.00", "0", 1)

  it("divides a price by the bedrooms", function()
    local answer = vm:request(path, { id = "7" })
    assert.equal(200, answer.status)
    assert.equal('{"id":7,"price_per_bedroom":166666.67}', answer.body)
  end)

  it("answers a property without bedrooms, and a missing one, as the page says", function()
    assert.equal("No bedrooms", vm:request(path, { id = "8" }).title)
    assert.equal(422, vm:request(path, { id = "9" }).status)
    assert.equal("Property not found", vm:request(path, { id = "10" }).title)
  end)
end)
