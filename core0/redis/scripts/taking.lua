-- What take and urgent have in common.

-- only who holds the lease takes; gives the error for all others
local function refused(lease, holder, life, renew)
    if holder == '' then return nil end
    local held = redis.pcall('GET', lease)
    if type(held) == 'string' and string.sub(held, 1, 32) ~= string.sub(holder, 1, 32) then
        return redis.error_reply('HELD ' .. held)
    end
    if type(held) ~= 'string' then
        redis.pcall('SET', lease, holder, 'EX', life)
    elseif renew == '1' then
        redis.call('EXPIRE', lease, life)
    end
end

local function next_number(clock)
    local time = redis.call('TIME')
    return math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', clock) or '0') + 1)
end

-- what is too large stays in the server but for how it begins: that may have the id under which it is refused; a payload
-- that begins with a NUL itself gets another one before it, so that none looks like this
local function kept(payload, largest)
    if #payload > largest then
        return '\0' .. #payload .. ' ' .. largest .. '\n' .. string.sub(payload, 1, 4096)
    end
    if string.byte(payload, 1) == 0 then return '\0' .. payload end
    return payload
end
