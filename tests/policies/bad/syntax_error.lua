-- expect: not_loadable
return { name = "syntax_error" doc = "" }
