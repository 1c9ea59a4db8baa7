-- Move commands from the queues to the unfinished ones of this node, in one step.
-- KEYS: unfinished, clock, lease, queue...
-- ARGV: who holds the lease (32 digits, and more for people; empty: there is none), its life in s, whether to renew it (1, 0),
--   how many at most, bytes at most, bytes of the largest payload
-- Error HELD: another one holds the lease.
-- Returns: how many are left in the queues, how many queues are no lists, then number and payload of each that was taken;
--   of one that is too large a NUL, its size, the largest size, a newline, and its first 4 KiB; of one that begins with a NUL
--   another NUL and all of it.
local unfinished, clock, lease = KEYS[1], KEYS[2], KEYS[3]
local holder, life, renew = ARGV[1], ARGV[2], ARGV[3]
local most, room, largest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local error = refused(lease, holder, life, renew)
if error then return error end
local seq = next_number(clock)
local taken, count, bytes, left, odd = {0, 0}, 0, 0, 0, 0

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
        payload = kept(whole, largest)
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
