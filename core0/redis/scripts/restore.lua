#!lua flags=allow-oom
-- Put back what this node knows and the server has forgotten. What the server has is left as it is. May be repeated
-- with the same effect.
-- KEYS: unfinished, clock. ARGV: node, the highest number that was given, then for each
--   kind (h: held, it is unfinished; a: answered), number, id, digest, payload or result (empty: it is there), life in s.
-- Returns how many were put back.
local unfinished, clock = KEYS[1], KEYS[2]
local node, highest = ARGV[1], ARGV[2]
local restored = 0

local function is_list(key) return redis.call('TYPE', key).ok == 'list' end

-- who holds an id, if anybody does: see claim
local function holder(id, seq)
    local held = content('core0:id:' .. id)
    if not held then return false end
    if #held == 64 then return is_list('result:' .. id) and held end
    local name, number = string.match(held, '^%x+ (%S+) (%d+)$')
    if name == node and number ~= seq and redis.call('HEXISTS', unfinished, number) == 0 then return false end
    return held
end

local function hold(seq, id, digest, payload)
    local forgotten = payload ~= '' and redis.call('HEXISTS', unfinished, seq) == 0
    if forgotten then redis.call('HSET', unfinished, seq, payload) end
    if digest ~= '' and not holder(id, seq) then
        redis.call('SET', 'core0:id:' .. id, digest .. ' ' .. node .. ' ' .. seq)
        forgotten = true
    end
    if forgotten then restored = restored + 1 end
end

-- an id without its result is one whose result a client has taken away; one that is not there at all was forgotten
local function answer(id, digest, result, life)
    if content('core0:id:' .. id) then return end
    redis.call('SET', 'core0:id:' .. id, digest, 'EX', life)
    if not is_list('result:' .. id) then
        redis.call('DEL', 'result:' .. id)
        redis.call('RPUSH', 'result:' .. id, result)
        redis.call('EXPIRE', 'result:' .. id, life)
    end
    restored = restored + 1
end

if tonumber(redis.call('GET', clock) or '0') < tonumber(highest) then redis.call('SET', clock, highest) end
for index = 3, #ARGV, 6 do
    local kind, seq, id, digest, body, life = unpack(ARGV, index, index + 5)
    if kind == 'h' then hold(seq, id, digest, body) else answer(id, digest, body, life) end
end
return restored
