#!lua flags=allow-oom
-- Remove what was received from containers and is dealt with, and read what follows. A call whose reply was lost is not
-- repeated: what it was to remove is read again.
-- KEYS: for each container: orders, results, records. ARGV: entries at most of a list, bytes at most of all together
--   (the last one may go beyond), bytes of the largest, how many results and how many records a list may hold, then for
--   each container: results to remove, records to remove, whether to read results, whether to read records (1 or 0).
-- Returns for each container: orders that wait, entries that were dropped because they are too large, results and
--   records that were dropped because they are too many, whether more is left, results, records.
local most, room, largest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most_results, most_records = tonumber(ARGV[4]), tonumber(ARGV[5])
local answers = {}

-- of records not more at once than whoever writes them has room for
local most_at_once = 4 * 1024 * 1024

local function read(key, own)
    local found, large, left = {}, 0, redis.call('LLEN', key)
    while left > #found and #found < most and room > 0 and own > 0 and large < 16 do
        local entry = redis.call('LINDEX', key, #found)
        if #entry <= largest then
            room, own = room - #entry, own - #entry
            found[#found + 1] = entry
        elseif #found > 0 then
            break
        else
            redis.call('LPOP', key)
            large = large + 1
            left = left - 1
        end
    end
    return found, large, left > #found
end

for index = 1, #KEYS, 3 do
    local results, records, at = KEYS[index + 1], KEYS[index + 2], 5 + (index - 1) / 3 * 4
    if ARGV[at + 1] ~= '0' then redis.call('LTRIM', results, ARGV[at + 1], -1) end
    if ARGV[at + 2] ~= '0' then redis.call('LTRIM', records, ARGV[at + 2], -1) end
    local many_results = math.max(0, redis.call('LLEN', results) - most_results)
    local many_records = math.max(0, redis.call('LLEN', records) - most_records)
    -- of results the oldest are kept, of records the newest
    if many_results > 0 then redis.call('LTRIM', results, 0, most_results - 1) end
    if many_records > 0 then redis.call('LTRIM', records, many_records, -1) end
    local answer = {redis.call('LLEN', KEYS[index]), 0, many_results, many_records, 0, {}, {}}
    for place, key in ipairs({results, records}) do
        if ARGV[at + 2 + place] == '1' then
            local found, large, more = read(key, place == 2 and most_at_once or room)
            answer[2] = answer[2] + large
            if more then answer[5] = 1 end
            answer[5 + place] = found
        end
    end
    answers[#answers + 1] = answer
end
return answers
