-- Read unfinished commands again.
-- KEYS: unfinished. ARGV: bytes at most, number...
-- Returns: number and payload of as many as fit, at least one if there is one; those that are gone are passed over.
local room, bytes, found = tonumber(ARGV[1]), 0, {}
for index = 2, #ARGV do
    local payload = redis.call('HGET', KEYS[1], ARGV[index])
    if payload then
        if bytes > 0 and bytes + #payload > room then break end
        bytes = bytes + #payload
        found[#found + 1] = ARGV[index]
        found[#found + 1] = payload
    end
end
return found
