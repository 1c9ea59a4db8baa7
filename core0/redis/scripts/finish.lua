#!lua flags=allow-oom
-- Write results, and remove what they answer from the unfinished commands, in one step. May be repeated with the same effect.
-- KEYS: unfinished, marks, rejected. ARGV: life of a result in s, node, then for each
--   kind (f: final, k: the job goes on, r: rejection; ft, kt: it has traces), number, id, digest, life in s, body.
-- Returns the places (from 1) of those whose id stands for other content: they are still unfinished.
local unfinished, marks, rejected = KEYS[1], KEYS[2], KEYS[3]
local life, node = ARGV[1], ARGV[2]
local conflicts = {}

local function remove(seq)
    redis.call('HDEL', marks, seq)
    return redis.call('HDEL', unfinished, seq) == 1
end

-- on a server of the clients' own somebody may have made something else of it
local function content(key)
    local held = redis.pcall('GET', key)
    if type(held) == 'table' then
        redis.call('DEL', key)
        return false
    end
    return held
end

local function stands(id, own, digest)
    local key = 'core0:id:' .. id
    local held = digest ~= '' and content(key)
    if not held or held == own then return nil end
    if #held == 64 and redis.call('TYPE', 'result:' .. id).ok ~= 'list' then return nil end
    return held
end

-- an entry is gone, and nobody has answered it: the server has come back without what it held
local function forgotten(id, own, digest)
    local held = digest ~= '' and content('core0:id:' .. id)
    return digest ~= '' and (not held or held == own)
end

for place = 1, (#ARGV - 2) / 6 do
    local at = 2 + (place - 1) * 6
    local kind, seq, id, digest, extra, body = unpack(ARGV, at + 1, at + 6)
    local final, own = string.sub(kind, 1, 1) == 'f', digest .. ' ' .. node .. ' ' .. seq
    if kind == 'r' then
        if remove(seq) then
            if redis.call('TYPE', rejected).ok ~= 'list' then redis.call('DEL', rejected) end
            redis.call('LPUSH', rejected, body)
            redis.call('LTRIM', rejected, 0, 999)
        end
    elseif seq == '0' or redis.call('HEXISTS', unfinished, seq) == 1 or forgotten(id, own, digest) then
        local key, result = 'core0:id:' .. id, 'result:' .. id
        local held = stands(id, own, digest)
        if held and string.sub(held, 1, 64) ~= digest then
            conflicts[#conflicts + 1] = place
        elseif held then
            if #held == 64 then
                redis.call('EXPIRE', key, life)
                redis.call('EXPIRE', result, life)
            end
            remove(seq)
        else
            redis.call('DEL', result)
            redis.call('RPUSH', result, body)
            redis.call('EXPIRE', result, final and life or life + extra)
            if digest ~= '' then
                if final then redis.call('SET', key, digest, 'EX', life) else redis.call('SET', key, own) end
            end
            if #kind == 2 and final then
                redis.call('EXPIRE', 'stream:' .. id, life)
                redis.call('EXPIRE', 'stats:' .. id, life)
            end
            if final then remove(seq) end
        end
    end
end
return conflicts
