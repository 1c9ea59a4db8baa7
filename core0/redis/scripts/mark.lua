#!lua flags=allow-oom
-- Note that jobs are about to run. May be repeated with the same effect. A full server takes it: jobs that could not start
-- would never make room.
-- KEYS: marks. ARGV: number, mark...
for index = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1]) end
