-- What claim and restore have in common.

-- what is said of an id: on a server of the clients' own a client may have made something else of it
local function content(key)
    local held = redis.pcall('GET', key)
    if type(held) == 'table' then
        redis.call('DEL', key)
        return false
    end
    return held
end

