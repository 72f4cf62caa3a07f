"""What Redis does in one step, in Lua: nothing may come between the parts of each.

The keys of a cluster have one prefix; `Keys` names them. They are for one Redis, not for a Redis
Cluster, whose parts share nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of what a cluster keeps in Redis."""

    prefix: str

    @property
    def epoch(self) -> str:
        """The epoch of the log."""
        return f"{self.prefix}epoch"

    @property
    def log(self) -> str:
        """The stream of all changes."""
        return f"{self.prefix}log"

    @property
    def nodes(self) -> str:
        """When each process was last heard of: a sorted set, by Redis's milliseconds."""
        return f"{self.prefix}nodes"

    @property
    def node_details(self) -> str:
        """What each process tells of itself: a hash of JSON."""
        return f"{self.prefix}node-details"

    @property
    def sessions(self) -> str:
        """What the keys of sessions begin with; each has JSON."""
        return f"{self.prefix}session:"

    def inbox(self, node: str) -> str:
        """The stream of what others tell one process."""
        return f"{self.prefix}inbox:{node}"

    def session(self, client_id: str) -> str:
        """The session of a client."""
        return f"{self.sessions}{client_id}"

    def sequence(self, origin: str) -> str:
        """The last number that a process has given to what it has appended."""
        return f"{self.prefix}sequence:{origin}"

    def answer(self, key: str) -> str:
        """The answer to an idempotency key: the id of its entry, a space, and JSON."""
        return f"{self.prefix}answer:{key}"

    def mark(self, key: str) -> str:
        """How far something of WhatsApp has come: the id of its entry, a space, and the value."""
        return f"{self.prefix}mark:{key}"


APPEND = """
-- Appends units to the log, each once however often it is sent.
-- KEYS: log. ARGV: prefix, most entries, then for each unit: origin, sequence, text, what is to be
-- kept by key with it, as JSON: a list of {key, value, milliseconds, rule}. By the rule "" it takes
-- the place of whatever is there, by "=" and a value only that of this one; by "!" of nothing.
-- Returns for each unit its id, "known" or "refused"; the last also when it is sent again.
local sequences, outcomes = {}, {}
for at = 3, #ARGV, 4 do
  local origin, sequence, text, kept = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local last = sequences[origin]
  if not last then
    last = tonumber(redis.call('GET', ARGV[1] .. 'sequence:' .. origin) or '0')
  end
  local outcome
  local refused = ARGV[1] .. 'refused:' .. origin
  if sequence <= last then
    outcome = redis.call('SISMEMBER', refused, ARGV[at + 1]) == 1 and 'refused' or 'known'
  else
    local puts = kept ~= '' and cjson.decode(kept) or {}
    for _, put in ipairs(puts) do
      local rule = put[4]
      if rule ~= '' then
        local there = redis.call('GET', put[1])
        there = there and string.match(there, '^%S+ (.*)$')
        if (rule == '!' and there) or (rule ~= '!' and rule ~= '=' .. (there or '')) then
          outcome = 'refused'
        end
      end
    end
    if outcome then
      redis.call('SADD', refused, ARGV[at + 1])
      redis.call('PEXPIRE', refused, 604800000)
    else
      outcome = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*',
        'o', origin, 'n', sequence, 'u', text)
      for _, put in ipairs(puts) do
        redis.call('SET', put[1], outcome .. ' ' .. put[2], 'PX', put[3])
      end
    end
    last = sequence
  end
  sequences[origin] = last
  outcomes[#outcomes + 1] = outcome
end
for origin, last in pairs(sequences) do
  redis.call('SET', ARGV[1] .. 'sequence:' .. origin, string.format('%.0f', last), 'PX', 604800000)
end
return outcomes
"""

JOIN = """
-- Says where the log is, and begins a new epoch when entries are missing that were there before.
-- KEYS: log, epoch. ARGV: a name for a new epoch, the epoch that is known or "", the id of the last
-- entry that was read or "0-0". That is missing when the log ends before it, and also when others
-- have appended since; entries before the first have only been trimmed.
-- Returns the epoch, the last id, the first id, and Redis's time in milliseconds.
local function parts(id)
  local time, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(time), tonumber(sequence)
end
local last, first = '0-0', '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then last = info[at + 1] end
  end
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
  first = oldest[1] and oldest[1][1] or last
end
local epoch = redis.call('GET', KEYS[2])
local time, sequence = parts(last)
local known_time, known_sequence = parts(ARGV[3])
local is_lost = time < known_time or (time == known_time and sequence < known_sequence)
local first_time, first_sequence = parts(first)
local is_trimmed = known_time < first_time
  or (known_time == first_time and known_sequence < first_sequence)
if not is_lost and not is_trimmed and ARGV[3] ~= '0-0' then
  is_lost = #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) == 0
end
if not epoch or (is_lost and epoch == ARGV[2]) then
  epoch = ARGV[1]
  redis.call('SET', KEYS[2], epoch)
end
local clock = redis.call('TIME')
return {epoch, last, first, string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))}
"""

BEAT = """
-- Notes that a process is alive, and says which others are.
-- KEYS: nodes, details. ARGV: node, details as JSON.
-- Returns Redis's time in milliseconds, nodes with the time they were heard of, and all details.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return {
  string.format('%.0f', now),
  redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'),
  redis.call('HGETALL', KEYS[2]),
}
"""

BURY = """
-- Declares a process dead, once, unless it was heard of meanwhile.
-- KEYS: nodes, details, log, its inbox. ARGV: node, when it was last heard of or "" for whenever,
-- the unit that says so.
local heard = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not heard or (ARGV[2] ~= '' and tonumber(heard) ~= tonumber(ARGV[2])) then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[4])
redis.call('XADD', KEYS[3], '*', 'o', '', 'n', 0, 'u', ARGV[3])
return 1
"""

TELL = """
-- Puts messages into the inboxes of others. ARGV: most entries, then a message for each of KEYS.
for at, inbox in ipairs(KEYS) do
  redis.call('XADD', inbox, 'MAXLEN', '~', ARGV[1], '*', 'm', ARGV[at + 1])
  redis.call('PEXPIRE', inbox, 60000)
end
"""
