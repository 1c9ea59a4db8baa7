-- Like take, but only commands that may not wait, and what is refused anyway because it is too large: looks at the first
-- entries of each queue.
-- KEYS: unfinished, clock, lease, queue...
-- ARGV: who holds the lease, its life, whether to renew it (see take), how many at most, entries to look at in each queue,
--   bytes of a payload worth a look, bytes of the largest payload, urgent command...
-- Error HELD: another one holds the lease.
-- Returns: number and payload of each that was taken, as take does.
local unfinished, clock, lease = KEYS[1], KEYS[2], KEYS[3]
local holder, life, renew = ARGV[1], ARGV[2], ARGV[3]
local most, depth, worthy, largest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local error = refused(lease, holder, life, renew)
if error then return error end
local seq = next_number(clock)
local urgent, taken = {}, {}
for index = 8, #ARGV do urgent[ARGV[index]] = true end

local function may_not_wait(payload)
    if #payload > largest then return true end
    if #payload > worthy then return false end
    local promising = false
    for name in pairs(urgent) do
        if string.find(payload, name, 1, true) then promising = true end
    end
    if not promising then return false end
    local read, command = pcall(cjson.decode, payload)
    if not read or type(command) ~= 'table' or not urgent[command.command] then return false end
    return command.queue == nil or command.queue == cjson.null or command.queue == ''
end

for index = 4, #KEYS do
    local found = {}
    local length = redis.call('TYPE', KEYS[index]).ok == 'list' and redis.call('LLEN', KEYS[index]) or 0
    for place = 0, math.min(depth, length) - 1 do
        if #found >= most then break end
        local payload = redis.call('LINDEX', KEYS[index], place)
        if may_not_wait(payload) then found[#found + 1] = payload end
        if #payload > largest then break end -- one of these at a time: they may be 512 MB each
    end
    for _, payload in ipairs(found) do
        redis.call('LREM', KEYS[index], 1, payload)
        local number = string.format('%.0f', seq)
        seq = seq + 1
        redis.call('HSET', unfinished, number, kept(payload, largest))
        taken[#taken + 1] = number
        taken[#taken + 1] = kept(payload, largest)
    end
    redis.call('TYPE', KEYS[index]) -- read last: see take
end
if #taken > 0 then redis.call('SET', clock, string.format('%.0f', seq - 1)) end
return taken
