-- Add samples, many at once: it takes a third of the time that single commands do.
-- ARGV: entries kept of each stream, then for each sample: key, life in s, how many words, words...
local most, at = ARGV[1], 2
while at <= #ARGV do
    local key, life, words = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    redis.call('XADD', key, 'MAXLEN', most, '*', unpack(ARGV, at + 3, at + 2 + words))
    redis.call('EXPIRE', key, life)
    at = at + 3 + words
end
