-- Move commands from the queues to the unfinished ones of this node, in one step.
-- KEYS: unfinished, clock, lease, queue...
-- ARGV: who holds the lease (32 digits, and more for people; empty: there is none), its life in s, whether to renew it (1, 0),
--   how many at most, bytes at most, bytes of the largest payload
-- Error HELD: somebody else holds the lease.
-- Returns: how many are left in the queues, how many queues are no lists, then number and payload of each that was taken;
--   of one that is too large a NUL, its size, the largest size, a newline, and its first 4 KiB.
local unfinished, clock, lease = KEYS[1], KEYS[2], KEYS[3]
local holder, life, renew = ARGV[1], ARGV[2], ARGV[3]
local most, room, largest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- only who holds the lease takes
if holder ~= '' then
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

local time = redis.call('TIME')
local seq = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', clock) or '0') + 1)
local taken, count, bytes, left, odd = {0, 0}, 0, 0, 0, 0

-- what is too large stays here but for how it begins: that may have the id under which it is refused
local function kept(payload)
    if #payload <= largest then return payload end
    return '\0' .. #payload .. ' ' .. largest .. '\n' .. string.sub(payload, 1, 4096)
end

local function is_list(key)
    local kind = redis.call('TYPE', key).ok
    return kind == 'list' or kind == 'none'
end

for index = 4, #KEYS do
    local served = is_list(KEYS[index])
    while served and count < most do
        local payload = redis.call('LPOP', KEYS[index])
        if not payload then break end
        count = count + 1
        local whole = payload
        payload = kept(whole)
        if bytes > 0 and bytes + #payload > room then
            redis.call('LPUSH', KEYS[index], whole)
            count = most
        else
            local number = string.format('%.0f', seq)
            seq = seq + 1
            bytes = bytes + #payload
            redis.call('HSET', unfinished, number, payload)
            taken[#taken + 1] = number
            taken[#taken + 1] = payload
        end
    end
end
if #taken > 2 then redis.call('SET', clock, string.format('%.0f', seq - 1)) end
-- reading them last is what the server's tracking goes by: it tells when one of them changes
for index = 4, #KEYS do
    if is_list(KEYS[index]) then left = left + redis.call('LLEN', KEYS[index]) else odd = odd + 1 end
end
taken[1], taken[2] = left, odd
return taken
