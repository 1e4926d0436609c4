-- The string and table functions of the sandbox do what Lua's do. Each expression is
-- evaluated in the sandbox, and here by Lua's own.
local host = require "plist.host"

local expressions = {
  -- find
  "('hello world'):find('o w')", "('hello'):find('l')", "('hello'):find('l', 4)", "('hello'):find('l', -2)",
    "('hello'):find('xyz')",
  "('hello'):find('')", "('hello'):find('', 6)", "('hello'):find('', 7)", "('hello'):find('', 100)", "('hello'):find('h', -100)",
  "('a.b'):find('.', 1, true)", "('a.b'):find('%.')", "('a+b'):find('+', 1, true)", "('hello'):find('(l)(l)')",
    "('hello'):find('()ll()')",
  "('a\\0b'):find('\\0')", "('a\\0b.c'):find('b%.')", "(''):find('')", "(''):find('a')", "('abc'):find('b', math.maxinteger)",
  -- match
  "('key = value'):match('^(%w+)%s*=%s*(%w+)$')", "('  trim  '):match('^%s*(.-)%s*$')",
    "('2026-02-21'):match('(%d+)-(%d+)-(%d+)')",
  "('abc'):match('()')", "('abc'):match('.-')", "('abc'):match('.-$')", "('aaa'):match('a*')", "('aaa'):match('a+')",
    "('aaa'):match('a-')",
  "('aaab'):match('a?b')", "('b'):match('a?b')", "('abc'):match('^b')", "('abc'):match('b')", "('a^b'):match('a^b')",
    "('a$b'):match('a$b')",
  "('f(a(b)c)d'):match('%b()')", "('f(a(b c)d'):match('%b()')", "('(()'):match('%b()')", "('THE (quick) fox'):find('%((%a+)%)')",
  "('hello'):match('%f[l]l+')", "('THE quick'):match('%f[%a]%a+%f[%A]')", "('x'):match('%f[%z]')", "('abab'):match('(ab)%1')",
  "('abba'):match('(a)(b)%2%1')", "('\"x\"'):match('([\"\\'])(.-)%1')", "('a-z'):match('[a%-z]+')", "('a]b'):match('[]]')",
    "('a]b'):match('[^]]+')",
  "('a^b'):match('[a^]+')", "('a-b'):match('[a-]+')", "('0x1F'):match('%x+', 3)", "('é'):match('[\\xc3][\\xa9]')",
    "('tab\\tx'):match('%c')",
  "('a_1'):match('[%w_]+')", "('x,y;z'):match('%p', 3)", "('AbC'):match('%u%l%u')", "('abc'):match('(a(b(c)))')",
    "('abc'):match('a.c')",
  "('a\\nc'):match('a.c')", "('aXb'):match('a%Xb')", "('ab'):match('a%b', 9)", "('x=1, y=2'):match('y=(%d)')",
    "('abc'):match('', 2)",
  -- gsub
  "('hello'):gsub('l', 'L')", "('hello'):gsub('l', 'L', 1)", "('hello'):gsub('l', 'L', 0)", "('hello'):gsub('', '-')",
    "('abc'):gsub('%w', '%0%0')",
  "('hello world'):gsub('(%w+) (%w+)', '%2 %1')", "('abc'):gsub('b', { b = 'X' })", "('abc'):gsub('%w', { a = 1, b = false })",
  "('abc'):gsub('%w', function(c) if c == 'b' then return 'X' end end)",
    "('abc'):gsub('(a)(b)', function(a, b) return b .. a end)",
  "('abc'):gsub('b*', 'x')", "('  x '):gsub('^%s+', '')", "('aaa'):gsub('^a', 'b')", "('100%'):gsub('%%', '%%%%')",
    "('abc'):gsub('()', '%1')",
  "('abc'):gsub('b', 5)", "('a,b,,c'):gsub(',', ';')", "('abc'):gsub('$', '!')", "(''):gsub('', 'x')", "('x^y'):gsub('x^', 'z')",
  -- gmatch
  "collect(('one two  three'):gmatch('%a+'))", "collect(('k=v, a=b'):gmatch('(%w+)=(%w+)'))", "collect(('abc'):gmatch(''))",
    "collect(('abc'):gmatch('b*'))",
  "collect(('aaa'):gmatch('^a'))", "collect(('a1b2'):gmatch('()%d'))", "collect(('abc'):gmatch('%w', 2))",
    "collect(('abc'):gmatch('%w', -1))",
  "collect(('abc'):gmatch('x'))", "collect((''):gmatch('.*'))",
  -- rep and format
  "('ab'):rep(3)", "('ab'):rep(3, ',')", "('ab'):rep(0)", "('ab'):rep(-1)", "(''):rep(10)", "(''):rep(3, '-')",
    "('x'):rep(1, 'yy')",
  "('%d %5.2f %s %q %%'):format(5, 1.5, 'x', 'a\\nb')", "('%5s|%-5s|%05d|%+d'):format('a', 'b', 42, 7)",
    "('%x %X %o %c %e %g'):format(255, 255, 8, 65, 1.5, 0.1)",
  "('%s %s %s'):format(nil, true, 12)", "('%i'):format(3.0)", "('%.3s'):format('abcdef')", "('%a'):format(1)",
    "('%s'):format(setmetatable({}, { __tostring = function() return 'T' end }))",
  -- errors
  "('x'):find('[a')", "('x'):find('%')", "('x'):find('(x')", "('x'):find('x)')", "('x'):find('%b')", "('x'):find('%f')",
    "('x'):find('%1')",
  "('x'):gsub('x', '%2')", "('x'):gsub('x', '%z')", "('x'):gsub('x', {}, 'n')", "('x'):gsub('x')",
    "('x'):gsub('x', function() return {} end)", "('x'):rep('y')",
  "('%d'):format('x')", "('%d'):format(1.5)", "('%d'):format()", "('%y'):format(1)", "('%'):format()", "('%s'):format()",
    "('x'):find()",
  -- table
  "list(table.pack(1, nil, 3))", "table.pack().n", "table.unpack({ 1, 2, 3 })", "table.unpack({ 1, 2, 3 }, 2)",
    "table.unpack({ 1, 2, 3 }, 2, 3)", "table.unpack({}, 1, 2)",
  "table.unpack({ 1 }, 3, 2)", "table.concat({ 1, 2, 'x' }, ', ')", "table.concat({})", "table.concat({ 1, 2, 3 }, '-', 2)",
    "table.concat({ 1, 2, 3 }, '-', 2, 2)",
  "table.concat({ 1, 2, 3 }, '-', 3, 2)", "table.concat({ 1, {}, 3 })", "table.concat({ 1, 2 }, '', 1, 3)",
  "with({ 1, 2, 3 }, table.insert, 4)", "with({ 1, 2, 3 }, table.insert, 1, 0)", "with({ 1, 2, 3 }, table.insert, 4, 4)",
    "with({}, table.insert, 1, 'x')",
  "with({ 1, 2 }, table.insert, 4, 'x')", "with({ 1, 2 }, table.insert, 0, 'x')", "with({ 1 }, table.insert)",
    "with({ 1 }, table.insert, 1, 2, 3)",
  "with({ 1, 2, 3 }, table.remove)", "with({ 1, 2, 3 }, table.remove, 1)", "with({ 1, 2, 3 }, table.remove, 4)",
    "with({ 1, 2, 3 }, table.remove, 5)", "with({}, table.remove)",
  "with({}, table.remove, 0)", "with({ 1 }, table.remove, 0)", "with({ [0] = 'z' }, table.remove, 0)",
  "list(table.move({ 1, 2, 3 }, 1, 3, 2))", "list(table.move({ 1, 2, 3 }, 2, 3, 1))",
    "list(table.move({ 1, 2, 3 }, 1, 3, 1, {}))", "list(table.move({ 1, 2 }, 2, 1, 5))",
  "list(table.move({ 1, 2, 3 }, 1, 3, 3))", "list(table.move({ 1, 2, 3 }, -1, 1, 2))",
  "with({ 3, 1, 2 }, table.sort)", "with({ 'b', 'a', 'C' }, table.sort)",
    "with({ 3, 1, 2 }, table.sort, function(a, b) return a > b end)", "with({}, table.sort)", "with({ 1 }, table.sort)",
  "with({ 1, 'x' }, table.sort)", "with({ 2, 1 }, table.sort, 5)", "with({ 5, 4, 3, 2, 1, 0, -1, 9, 8, 7, 6 }, table.sort)",
  -- others
  "tostring(1.5)", "tostring(10 // 3)", "tostring(2^53)", "tostring(nil)", "tostring(-0.0)", "tostring(1e15)",
    "tonumber('0x10')", "tonumber('z', 36)", "tonumber('  7  ')",
  "tonumber('1e1')", "tonumber('x')", "select('#', 1, nil, nil)", "select(-1, 1, 2, 3)", "select(2, 'a', 'b', 'c')", "select(0)",
    "type(nil)", "type()",
  "pcall(error, 'x')", "pcall(error)", "pcall(function(...) return ... end, 1, 2)", "pcall(1)", "rawlen({ 1, 2 })",
    "rawequal('a', 'a')", "math.type(1)", "math.tointeger('8')",
  "'10' + 5", "'3' * '4'", "10 .. ''", "('x'):len()", "#'abc'", "('abc'):sub(2, -1)", "('abc'):upper()", "('abc'):byte(1, -1)",
    "string.char(104, 105)", "('abc'):reverse()",
  "utf8.len('äö')", "utf8.char(228, 8364)", "utf8.codepoint('€')", "utf8.offset('aäb', 3)", "utf8.len('\\xff')",
}

local HEAD = [[
  local function list(t) local s = {} for i = 1, 12 do s[i] = tostring(t[i]) end return table.concat(s, " ") end
  local function with(t, f, ...) local r = table.pack(f(t, ...)) return list(t) .. " -> " .. list(r) end
  local function collect(step, state, var)
    local s = {}
    for i = 1, 20 do
      local found = table.pack(step(state, var))
      if found[1] == nil then break end
      var = found[1]
      for k = 1, found.n do s[#s + 1] = tostring(found[k]) end
      s[#s + 1] = ";"
    end
    return table.concat(s, " ")
  end
  local function texts(...)
    local s = {}
    for i = 1, select("#", ...) do s[i] = tostring((select(i, ...))) end
    return table.concat(s, "|")
  end
]]

describe("the guarded libraries", function()
  for _, world in ipairs { "policy", "handler" } do
    local vm = host.vm { world = world }

    for _, expression in ipairs(expressions) do
      it("return what Lua's return: " .. expression .. ", in a " .. world, function()
        local chunk = HEAD .. "return texts(" .. expression .. ")"
        local ok, expected = pcall(assert(load(chunk, "=spec")))
        local how, text = vm:run(chunk)
        assert.equal(ok and "done" or "raised", how, text)
        if ok then assert.equal(expected, text) end
      end)
    end
  end

  it("return what Lua's return for random patterns", function()
    local vm = host.vm { world = "handler" }
    local pieces = {
      "a", "b", ".", "%a", "[ab]", "[^a]", "(a)", "()", "(.-)", "%d", "^", "$", "%f[b]", "%bab", "x", "%1", "(", ")",
    }
    local quantifiers = { "", "", "", "*", "+", "-", "?" }
    math.randomseed(tonumber(os.getenv("PL_SEED") or "4711"))
    for _ = 1, 3000 do
      local pattern, subject = {}, {}
      for i = 1, math.random(1, 5) do pattern[i] = pieces[math.random(#pieces)] .. quantifiers[math.random(#quantifiers)] end
      for i = 1, math.random(0, 8) do subject[i] = ("ab1x"):sub(math.random(4)):sub(1, 1) end
      local call = ("(%q):%s(%q)"):format(table.concat(subject), math.random() < 0.5 and "find" or "match", table.concat(pattern))
      local chunk = HEAD .. "return texts(" .. call .. ")"
      local ok, expected = pcall(assert(load(chunk, "=spec")))
      local how, text = vm:run(chunk)
      assert.equal((ok and "done " .. expected or "raised"), (how == "done" and "done " .. text or how), call)
    end
  end)
end)
