#!lua flags=allow-oom
-- Write results, and remove what they answer from the unfinished commands, in one step. May be repeated with the same effect.
-- KEYS: unfinished, marks, rejected. ARGV: life of a result in s, node, then for each
--   kind (f: final, k: the job goes on, r: rejection; ft, kt: it has traces), number, id, digest, life in s, body.
-- Returns the places (from 1) of those whose id stands for other content: they are still unfinished.
-- A call from here costs more than what it does: what can be asked or told for all at once is.
local unfinished, marks, rejected = KEYS[1], KEYS[2], KEYS[3]
local life, node = ARGV[1], ARGV[2]
local count = (#ARGV - 2) / 6
local conflicts, marked, rejections = {}, {}, {}

-- what the ids stand for; nothing for what is no string: on a server of the clients' own somebody may have made that
local function claims()
    local keys, held = {}, {}
    for place = 1, count do
        local at = 2 + (place - 1) * 6
        if ARGV[at + 4] ~= '' then keys[#keys + 1] = 'core0:id:' .. ARGV[at + 3] end
    end
    if #keys > 0 then
        local found = redis.call('MGET', unpack(keys))
        for place, key in ipairs(keys) do held[key] = found[place] end
    end
    return held
end
local held_by = claims()

-- who holds an id, if somebody else does
local function stands(key, id, own)
    local held = held_by[key]
    if not held or held == own then return nil end
    if #held == 64 and redis.call('TYPE', 'result:' .. id).ok ~= 'list' then return nil end
    return held
end

local function remove(seq)
    marked[#marked + 1] = seq
    return redis.call('HDEL', unfinished, seq) == 1
end

local function write(kind, seq, id, digest, extra, body, own)
    local key, result = 'core0:id:' .. id, 'result:' .. id
    local final = string.sub(kind, 1, 1) == 'f'
    redis.call('DEL', result)
    redis.call('RPUSH', result, body)
    redis.call('EXPIRE', result, final and life or life + extra)
    if digest ~= '' then
        if final then redis.call('SET', key, digest, 'EX', life) else redis.call('SET', key, own) end
        held_by[key] = final and digest or own
    end
    if kind == 'ft' then
        redis.call('EXPIRE', 'stream:' .. id, life)
        redis.call('EXPIRE', 'stats:' .. id, life)
    end
end

local function finish(place, kind, seq, id, digest, extra, body)
    local final, own = string.sub(kind, 1, 1) == 'f', digest .. ' ' .. node .. ' ' .. seq
    local key = 'core0:id:' .. id
    local held = digest ~= '' and stands(key, id, own)
    local other = held and string.sub(held, 1, 64) ~= digest
    -- an entry is gone, and nobody has answered it: the server has come back without what it held
    local forgotten = digest ~= '' and (not held_by[key] or held_by[key] == own)
    if seq ~= '0' and not forgotten and redis.call('HEXISTS', unfinished, seq) == 0 then return end
    -- the entry goes last: should the server refuse a result, it is still there
    if other then
        conflicts[#conflicts + 1] = place
    elseif held then
        if #held == 64 then
            redis.call('EXPIRE', key, life)
            redis.call('EXPIRE', 'result:' .. id, life)
        end
        remove(seq)
    else
        write(kind, seq, id, digest, extra, body, own)
        if final and seq ~= '0' then remove(seq) end
    end
end

-- one that the server refuses holds up no other: all of them are done, then it is told
local refused
for place = 1, count do
    local at = 2 + (place - 1) * 6
    local kind, seq, id, digest, extra, body = unpack(ARGV, at + 1, at + 6)
    if kind ~= 'r' then
        local good, error = pcall(finish, place, kind, seq, id, digest, extra, body)
        if not good then refused = refused or error end
    elseif remove(seq) then
        rejections[#rejections + 1] = body
    end
end
if #rejections > 0 then
    if redis.call('TYPE', rejected).ok ~= 'list' then redis.call('DEL', rejected) end
    redis.call('LPUSH', rejected, unpack(rejections))
    redis.call('LTRIM', rejected, 0, 999)
end
if #marked > 0 then redis.call('HDEL', marks, unpack(marked)) end
if refused then return redis.error_reply(type(refused) == 'table' and refused.err or tostring(refused)) end
return conflicts
