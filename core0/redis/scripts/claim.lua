#!lua flags=allow-oom
-- May these commands run? Never two under one id.
-- KEYS: unfinished, marks. ARGV: life of a result in s, node, then number, id, digest of each.
-- Returns for each: 0 it may; 1 it is a repeat, removed here; 2 the id stands for other content.
local unfinished, marks = KEYS[1], KEYS[2]
local life, node = ARGV[1], ARGV[2]
local answers = {}

for index = 3, #ARGV, 3 do
    local seq, id, digest = ARGV[index], ARGV[index + 1], ARGV[index + 2]
    local key, own = 'core0:id:' .. id, digest .. ' ' .. node .. ' ' .. seq
    local held = content(key)
    local finished = held and #held == 64
    if held and held ~= own then
        if finished then
            -- somebody took the result away: then it does not stand any more
            if redis.call('TYPE', 'result:' .. id).ok ~= 'list' then held = false end
        else
            local holder, number = string.match(held, '^%x+ (%S+) (%d+)$')
            -- its own, with the digest that an older core0 has made of it
            local same = holder == node and number == seq
            if same or (holder == node and redis.call('HEXISTS', unfinished, number) == 0) then held = false end
        end
    end
    if not held or held == own then
        if not held then redis.call('SET', key, own) end
        answers[#answers + 1] = 0
    elseif string.sub(held, 1, 64) == digest then
        if finished then
            redis.call('EXPIRE', key, life)
            redis.call('EXPIRE', 'result:' .. id, life)
        end
        redis.call('HDEL', unfinished, seq)
        redis.call('HDEL', marks, seq)
        answers[#answers + 1] = 1
    else
        answers[#answers + 1] = 2
    end
end
return answers
