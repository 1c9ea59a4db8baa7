-- Move commands from the queues to the unfinished ones of this node, in one step.
-- KEYS: unfinished, rejected, clock, queue...
-- ARGV: how many at most, bytes at most, bytes of the largest payload, node
-- Returns: how many are left in the queues, how many queues are no lists, then number and payload of each that was taken.
local unfinished, rejected, clock = KEYS[1], KEYS[2], KEYS[3]
local most, room, largest, node = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local millis = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local seq = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', clock) or '0') + 1)
local taken, count, bytes, left, odd = {0, 0}, 0, 0, 0, 0

local function reject(payload)
    -- only ASCII of it: what is cut or no UTF-8 would make the entry unreadable
    local shown = string.gsub(string.sub(payload, 1, 4096), '[\128-\255]', '?')
    local reason = 'payload of ' .. #payload .. ' bytes: at most ' .. largest .. ' are taken ([redis] max_command)'
    if redis.call('TYPE', rejected).ok ~= 'list' then redis.call('DEL', rejected) end
    redis.call('LPUSH', rejected, '{"time":' .. millis .. ',"node":' .. cjson.encode(node) ..
        ',"id":null,"state":"ERROR","reason":' .. cjson.encode(reason) .. ',"payload":' .. cjson.encode(shown) .. '}')
    redis.call('LTRIM', rejected, 0, 999)
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
        if #payload > largest then
            reject(payload)
        elseif bytes > 0 and bytes + #payload > room then
            redis.call('LPUSH', KEYS[index], payload)
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
