-- expect: not_loadable
return { name = "no_resolve", doc = "Nothing to ask." }
