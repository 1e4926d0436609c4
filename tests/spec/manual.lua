-- Code blocks of the manual, for specs that run what it shows.
local manual = {}

--- The text of a file of the source tree.
function manual.read(path)
  local file = assert(io.open((os.getenv("PL_TOP_SRCDIR") or ".") .. "/" .. path))
  local text = file:read("a")
  file:close()
  return text
end

--- The literal block of `page` that is marked by a comment `file: path`, as a reader
--- would copy it.
function manual.file(page, path)
  local text = manual.read("man/" .. page)
  local _, mark = text:find('\n.\\" file: ' .. path .. "\n", 1, true)
  local block = assert(mark, page .. " has no block for " .. path) and text:match("^%.Bd %-literal[^\n]*\n(.-)%.Ed\n", mark + 1)
  return (assert(block, page .. ": no block behind the mark of " .. path):gsub("\\&", ""):gsub("\\e", "\\"):gsub("\\%-", "-"))
end

return manual
