-- Called by: attempts and logs; only reads. ARGV after the time: id, and attempts or logs. Answers
-- what the list holds, and for attempts the fields of the job that its last attempt is read from.

if ARGV[3] == 'logs' then
  return call('LRANGE', logs_key(ARGV[2]), 0, -1)
end
return {call('LRANGE', attempts_key(ARGV[2]), 0, -1), call('HMGET', job_key(ARGV[2]), 'state',
  'number', 'attempt', 'worker', 'started_at', 'finished_at', 'outcome', 'error', 'ran')}
