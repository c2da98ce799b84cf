"""Redis: whether the cache hits, how fast it answers, what fills its memory, and how long messages wait in queues."""

from .panels import GREEN, ORANGE, RED, YELLOW, bars, colored, dashboard, heat, lines, quantiles, query, row, stat

HOST = 'instance=~"$instance"'
SERVER = f'{HOST}, server=~"$server"'
OF = f'{SERVER}, process=~"$process", role=~"$role"'
CACHE = "{{process}} ({{role}}) → {{server}}"
BY = "by (process, role, server)"
LOW = {"base": RED, "thresholds": [(0.7, YELLOW), (0.8, GREEN)]}

NOW = row(
    "Now",
    stat("Worst hit rate", "Keys found of keys looked up over 5 minutes, of the process and server that has fewest.",
         f"min(observer:redis_cache_hits:ratio5m{{{OF}}})", "percentunit", **LOW),
    stat("Slowest p99 of GET", "Over 5 minutes. 10 ms means 10 ms or more.",
         f"max(observer:redis_get_latency_seconds:p99{{{OF}}})", "s", thresholds=[(0.005, YELLOW), (0.01, RED)]),
    stat("Fullest memory", "Of its maxmemory, by the newest INFO reply; servers without a limit are not here.",
         f"max(observer:redis_memory_used:ratio{{{SERVER}}})", "percentunit", thresholds=[(0.8, YELLOW), (0.9, RED)]),
    stat("Evicted", "Keys a second thrown away for want of memory, by the newest INFO replies.",
         f"max(rate(redis_evictions_total{{{SERVER}}}[$__rate_interval]))", "cps", thresholds=[(0.01, YELLOW), (100, RED)]),
    stat("Commands a second", "By process and end, most.",
         f"max(sum {BY} (rate(observer_redis_commands_total{{{OF}}}[$__rate_interval])))", "ops"),
    stat("Sessions at work", "With a command unanswered, of all.",
         f"sum(redis_connections_active{{{OF}}}) / "
         f"sum(redis_connections_active{{{OF}}} + redis_connections_idle{{{OF}}} + "
         f"observer_redis_connections_blocked{{{OF}}})", "percentunit",
         thresholds=[(0.8, YELLOW), (0.95, RED)]),
)

HITS = row(
    "Cache",
    lines("Keys found", "Over 5 minutes. RedisLowCacheHitRate is below 70 %.",
          [query(f"observer:redis_cache_hits:ratio5m{{{OF}}}", CACHE)], "percentunit", 8, max=1, **LOW),
    bars("Keys found by prefix", "Over 5 minutes, the ones that are looked up most: what misses goes to the database.",
         f"observer:redis_cache_hits_by_prefix:ratio5m{{{OF}}} and "
         f"topk(15, observer:redis_cache_hits:rate5m{{{OF}}} + observer:redis_cache_misses:rate5m{{{OF}}})",
         "{{cache_key_prefix}} ({{role}})", "percentunit", 8, min=0, max=1, **LOW),
    lines("Found and not found", "Keys a second; those not found go downwards.",
          [query(f"sum by (cache_key_prefix) (observer:redis_cache_hits:rate5m{{{OF}}})", "{{cache_key_prefix}} found"),
           query(f"sum by (cache_key_prefix) (observer:redis_cache_misses:rate5m{{{OF}}})", "{{cache_key_prefix}} missed")],
          "cps", 8, mirrored="missed$"),
)

TIMES = row(
    "Latency",
    lines("GET", "The call that sent it to the one with its reply, over 5 minutes. 10 ms means 10 ms or more.",
          quantiles(f"observer:redis_get_latency_seconds:{{q}}{{{{{OF}}}}}", CACHE), "s", 8, thresholds=[(0.01, RED)]),
    lines("SET", "Likewise.", quantiles(f"observer:redis_set_latency_seconds:{{q}}{{{{{OF}}}}}", CACHE), "s", 8,
          thresholds=[(0.01, RED)]),
    heat("GET, all", "How many took how long.", f"redis_get_latency_seconds_bucket{{{OF}}}", "s"),
)

WORK = row(
    "Commands",
    lines("By command", "A second.",
          [query(f"sum by (command) (rate(observer_redis_commands_total{{{OF}}}[$__rate_interval]))", "{{command}}")],
          "ops", 8, stacked=True),
    lines("By process", "A second.",
          [query(f"sum {BY} (rate(observer_redis_commands_total{{{OF}}}[$__rate_interval]))", CACHE)], "ops", 8),
    lines("Sessions", "active: a command is unanswered. blocked: one that waits for something, such as BLPOP.",
          [query(f"sum(redis_connections_active{{{OF}}})", "active"), query(f"sum(redis_connections_idle{{{OF}}})", "idle"),
           query(f"sum(observer_redis_connections_blocked{{{OF}}})", "blocked")],
          "short", 4, stacked=True,
          overrides=[colored("active", YELLOW), colored("idle", GREEN), colored("blocked", ORANGE)]),
    lines("Errors", "Error replies a minute by their first word. OOM: memory is full and nothing may be evicted.",
          [query(f"sum by (process, kind) (60 * rate(observer_redis_errors_total{{{OF}}}[$__rate_interval]))",
                 "{{kind}}: {{process}}")],
          "short", 4),
)

MEMORY = row(
    "Memory: what fills it",
    lines("Used", "By the newest INFO reply seen, or asked for with --redis-info. RedisMemoryNearLimit is at 90 %.",
          [query(f"max by (server) (redis_memory_used_bytes{{{SERVER}}})", "{{server}}"),
           query(f"max by (server) (observer_redis_memory_limit_bytes{{{SERVER}}}) > 0", "{{server}} limit")],
          "bytes", 8),
    lines("Evicted", "Keys a second thrown away for want of memory.",
          [query(f"max by (server) (rate(redis_evictions_total{{{SERVER}}}[$__rate_interval]))", "{{server}}")], "cps", 4),
    lines("Written without TTL", "Of all values written: they stay until they are evicted.",
          [query(f"sum {BY} (rate(observer_redis_writes_without_ttl_total{{{OF}}}[$__rate_interval])) / "
                 f"(sum {BY} (rate(redis_key_size_bytes_count{{{OF}}}[$__rate_interval])) > 0)", CACHE)],
          "percentunit", 4, max=1),
    heat("Sizes of values", "Written by SET and its kin.", f"redis_key_size_bytes_bucket{{{OF}}}", "bytes", 4),
    heat("Times to live", "Given with writes, or with EXPIRE and its kin.", f"redis_ttl_seconds_bucket{{{OF}}}", "s", 4),
)

# A queue is one at a server, whoever uses it.
QUEUE = "{{queue}} {{group}} ({{role}}) → {{server}}"
QUEUES_OF = f'{SERVER}, role=~"$role"'

QUEUES = row(
    "Queues: how long messages wait, whoever puts them in and takes them out",
    lines("Oldest message", "How long the one that goes next has waited, or at least has. It grows while nothing is taken. "
          "MessageQueueBacklogAccumulating is above 10 s.",
          [query(f"observer:queue_oldest_message_seconds:max{{{QUEUES_OF}}}", QUEUE)], "s", 8, thresholds=[(10, RED)]),
    lines("Age when taken", "How long messages had waited when they were taken, over 5 minutes. 60 s means 60 s or more.",
          quantiles(f"observer:message_age_in_queue_seconds:{{q}}{{{{{QUEUES_OF}}}}}", QUEUE), "s", 8,
          thresholds=[(10, RED)]),
    heat("Age when taken, all", "How many messages had waited how long.", f"message_age_in_queue_seconds_bucket{{{OF}}}", "s"),
    lines("Messages waiting", "Lists, and topics of Kafka. QueueLengthHigh is above 100.",
          [query(f"observer:queue_lag_messages:sum{{{QUEUES_OF}}}", QUEUE)], "short", 8, thresholds=[(100, RED)]),
    lines("Put in and taken out", "Messages a second, over 10 s; those taken out go downwards.",
          [query(f"observer:queue_producer_rate:sum{{{QUEUES_OF}}}", f"{QUEUE} put in"),
           query(f"observer:queue_consumer_rate:sum{{{QUEUES_OF}}}", f"{QUEUE} taken out")],
          "cps", 8, mirrored="taken out$"),
    lines("Messages by process", "A second, by what processes do with them.",
          [query(f"sum by (process, role, queue, operation) (rate(observer_queue_messages_total{{{OF}}}[$__rate_interval]))",
                 "{{process}} ({{role}}) {{operation}} {{queue}}")],
          "cps", 8),
)

DASHBOARD = dashboard(
    "observer-redis", "Redis",
    "Whether the cache hits, how fast it answers, what fills its memory, and how long messages wait in queues.",
    "redis|queue", [NOW, HITS, TIMES, WORK, MEMORY, QUEUES], process="redis_connections_idle", server="redis_connections_idle",
)
