#!lua flags=allow-oom
-- Hold the lease of an address, or give it up. May be repeated with the same effect.
-- KEYS: lease. ARGV: holder (see take), life of the lease in s, whether to hold it (1) or to give it up (0).
-- Error HELD: another one has it.
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' and string.sub(held, 1, 32) ~= string.sub(ARGV[1], 1, 32) then
    return redis.error_reply('HELD ' .. held)
end
if ARGV[3] == '1' then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) else redis.call('DEL', KEYS[1]) end
