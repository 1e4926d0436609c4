-- expect: not_loadable
local db = require "plist.db"
return { name = "asks_the_database", doc = "By the rows of the database.", resolve = function(rows) return db.query("SELECT 1") end }
