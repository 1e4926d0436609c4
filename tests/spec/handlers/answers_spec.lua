-- json.array and http.problem accept their arguments completely or refuse them with a
-- reason; they drop nothing.
local host = require "plist.host"

local HEAD = "local http, json = require 'plist.http', require 'plist.json'\n"

local function answer(code, body)
  local vm = host.vm { world = "handler", files = { ["handlers/a.lua"] = HEAD .. "return { handle = function(req) " .. code .. " end }" } }
  return vm:request("handlers/a.lua", { method = "POST", target = "/us/properties/7", id = "7", body = body or "{}" })
end

local function raised(code, sentence)
  local vm = host.vm { world = "handler" }
  local how, text = vm:run(HEAD .. code)
  assert.equal("raised", how)
  assert.truthy(text:find(sentence, 1, true), text)
end

describe("json.array", function()
  it("accepts arrays of the body, including empty ones, and tables that it has marked before", function()
    assert.equal('{"rooms":[],"tags":["a"]}', answer("return http.ok { tags = json.array(req.body.tags), rooms = json.array(req.body.rooms) }",
      '{"tags":["a"],"rooms":[]}').body)
    assert.equal("[]", answer("return http.ok(json.array(json.array {}))").body)
    assert.equal("[[]]", answer("return http.ok { json.array(json.decode('[]')) }").body)
  end)

  it("refuses values that cannot be marked", function()
    raised("json.array(setmetatable({}, { __index = {} }))", "the table already has a metatable")
    raised("json.array(1)", "table expected")
  end)
end)

describe("http.problem", function()
  it("accepts errors, error, retryable and retry_after among the further members", function()
    local got = answer [[return http.problem(422, "No", nil, { errors = { { pointer = "/price", detail = "is too low" } },
      error = "low", more = { 1 } })]]
    assert.equal(422, got.status)
    assert.equal("low", got.error)
    assert.same({ ["/price"] = "is too low" }, got.faults)
  end)

  for what, case in pairs {
    ["errors that are not a list"] = { "{ errors = 'no' }", "errors has to be a list, not a string" },
    ["errors without an entry"] = { "{ errors = {} }", "errors has to be a list with at least one entry" },
    ["an object of errors"] = { "{ errors = { price = 'low' } }", "errors has to be a list with at least one entry" },
    ["an entry that is a string"] = { "{ errors = { 'low' } }", "errors[1] has to be a table" },
    ["an entry without a pointer"] = { "{ errors = { { detail = 'low' } } }", "errors[1].pointer has to be a string" },
    ["an entry with more members"] = { "{ errors = { { pointer = '/a', detail = 'low', code = 3 } } }", "errors[1] has members other than pointer and detail" },
    ["a status among the members"] = { "{ status = 200 }", "the member status is a separate argument" },
    ["an instance"] = { "{ instance = 'x' }", "the member instance is set by plist" },
    ["a retryable that is a string"] = { "{ retryable = 'yes' }", "retryable has to be a boolean" },
  } do
    it("refuses " .. what, function() raised(("http.problem(400, 'No', nil, %s)"):format(case[1]), case[2]) end)
  end
end)
