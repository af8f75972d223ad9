"""The capacity plan of docs/CAPACITY.md: how many machines a load needs, what limits them, and what they cost.

`python3 benches/python/capacity.py` prints the document's tables. It needs only Python's standard library.
"""

import heapq
import math
import random
from dataclasses import dataclass

# Name: value, unit, source. Titles in quotes are those of benches/README.md, where two cores served the requests and
# also sent them.
CONSTANTS = {
    "node_retrieve": (2e6 / 28_731, "µs of a core", "measured: 28,731/s, both ends of a connection ('Over HTTP')"),
    "node_store": (2e6 / 17_041, "µs of a core", "measured: 17,041/s ('Over HTTP')"),
    "engine_retrieve": (1e6 / 43_062, "µs of a core", "measured: 43,062/s ('PostgreSQL'), half of it the client's"),
    "engine_store": (1e6 / 37_839, "µs of a core", "measured: 37,839/s ('PostgreSQL'), half of it the client's"),
    "sync": (3.3, "ms", "assumed: an fdatasync of a slow disk; fast ones take 0.1 ms"),
    "sqlite_bytes": (1_434, "bytes", "measured: a record of 1 KiB in SQLite"),
    "engine_bytes": (1_366, "bytes", "measured: a record of 1 KiB in PostgreSQL, without its index"),
    "index_bytes": (76, "bytes", "measured: its entry in the index"),
    "object_bytes": (1_108, "bytes", "a record of 1 KiB in an object store (FORMAT.md)"),
    "object_fast": (10, "ms", "a request to an object store takes at least (OBJECT_STORES.md)"),
    "object_slow": (50, "ms", "and at most"),
    "page": (8_192, "bytes", "a page of PostgreSQL; the log has the whole page after each checkpoint"),
    "checkpoint": (900, "s", "assumed: `checkpoint_timeout = 15min`"),
    "busy": (0.5, "", "assumed: the planned share of the cores; the rest carries a lost machine"),
    "hop_ms": (0.2, "ms", "assumed: a round trip in a data centre"),
    "iops": (100_000, "1/s", "assumed: random reads of one database's disks"),
    "log": (250e6, "bytes/s", "assumed: the rate of the log's disk"),
    "memory_per_core": (8e9, "bytes", "assumed: a database machine with 8 GB for each core"),
    "core_month": (30.0, "$", "assumed: a core for a month, with its memory"),
    "disk_month": (0.10, "$", "assumed: a GB of SSD for a month"),
    "object_month": (0.023, "$", "assumed: a GB of an object store for a month"),
    "put": (5e-6, "$", "an object store's list price of a PUT"),
    "get": (0.4e-6, "$", "an object store's list price of a GET"),
}
C = {name: value for name, (value, _, _) in CONSTANTS.items()}

READS = 0.8  # the share of retrieves among the requests
BODY = 1_400  # bytes of a request and its answer, as JSON
CORES = 4  # of a machine for services
REQUESTS = 20_000  # simulated for each row
MONTH = 30 * 86_400


@dataclass
class Load:
    """A row of the plan."""

    records: float
    rate: float
    engine: str  # sqlite, postgres, object

    @property
    def name(self) -> str:
        """The load as text."""
        return f"{self.records:,.0f} records, {self.rate:,.0f}/s"


LOADS = [
    Load(1e6, 1_000, "sqlite"),
    Load(1e7, 10_000, "sqlite"),
    Load(1e7, 10_000, "postgres"),
    Load(1e8, 30_000, "postgres"),
    Load(1e9, 30_000, "postgres"),
    Load(1e9, 100_000, "postgres"),
    Load(1e9, 30_000, "object"),
    Load(1e9, 100_000, "object"),
]


def mean(retrieve: float, store: float) -> float:
    """The cost of an average request."""
    return READS * retrieve + (1 - READS) * store


def nodes(load: Load, cost: float) -> int:
    """Machines for a kind of service: enough at the planned share of their cores, and one more than is needed."""
    return max(2, math.ceil(load.rate * cost / 1e6 / CORES / C["busy"]))


def log_rate(load: Load) -> float:
    """Bytes that PostgreSQL logs in a second. Locators are random: each store touches a random page of the index."""
    pages = load.records * C["index_bytes"] / C["page"]
    stores = load.rate * (1 - READS)
    touched = pages * (1 - math.exp(-stores * C["checkpoint"] / pages))
    return stores * (C["engine_bytes"] + C["index_bytes"]) + touched * C["page"] / C["checkpoint"]


@dataclass
class Plan:
    """Machines for a load, how busy each part is, and the price of a month."""

    services: int  # encryption servers, and as many storage services; 0: one machine does all
    engine_cores: int
    disk: float
    memory: float
    log: float
    reads: float
    network: float
    busy: dict[str, float]
    cost: float


def plan(load: Load) -> Plan:
    """The machines for a load."""
    if load.engine == "sqlite":
        work = load.rate * mean(C["node_retrieve"], C["node_store"]) / 1e6
        cores = max(2, 2 * math.ceil(work / C["busy"] / 2))
        disk = load.records * C["sqlite_bytes"]
        busy = {"cores of the only machine": work / cores}
        cost = cores * C["core_month"] + disk / 1e9 * C["disk_month"]
        return Plan(0, cores, disk, 0, 0, 0, load.rate * BODY, busy, cost)
    # An encryption server has one end of two connections, as a storage service has.
    cost_of_node = mean(C["node_retrieve"], C["node_store"])
    services = nodes(load, cost_of_node)
    used = load.rate * cost_of_node / 1e6 / CORES / services
    busy = {"cores of the services": used}
    cost = 2 * services * CORES * C["core_month"]
    network = 2 * load.rate * BODY / services
    if load.engine == "object":
        disk = load.records * C["object_bytes"]
        requests = load.rate * (READS * C["get"] + (1 - READS) * C["put"]) * MONTH
        cost += disk / 1e9 * C["object_month"] + requests
        busy["price of requests, of the whole price"] = requests / cost
        return Plan(services, 0, disk, 0, 0, 0, network, busy, cost)
    work = load.rate * mean(C["engine_retrieve"], C["engine_store"]) / 1e6
    index = load.records * C["index_bytes"]
    table = load.records * C["engine_bytes"]
    # The index must fit into memory beside everything else; the rest of the memory caches the table.
    cores = max(2, math.ceil(work / C["busy"]), math.ceil(1.25 * index / C["memory_per_core"]))
    cores = 2 ** math.ceil(math.log2(cores))
    memory = cores * C["memory_per_core"]
    cached = min(1.0, max(0.0, 0.8 * memory - index) / table)
    reads = load.rate * READS * (1 - cached)
    logged = log_rate(load)
    busy |= {
        "cores of PostgreSQL": work / cores,
        "memory for the index": index / (0.8 * memory),
        "random reads of its disk": reads / C["iops"],
        "its log": logged / C["log"],
    }
    disk = table + index
    # A standby has the same machine and disk.
    cost += 2 * (cores * C["core_month"] + disk / 1e9 * C["disk_month"])
    return Plan(services, cores, disk, memory, logged, reads, network, busy, cost)


class Station:
    """Nodes that serve first come, first served. A request goes to the less busy of two random ones."""

    def __init__(self, count: int, cores: int, chance: random.Random) -> None:
        """`count` nodes of `cores` cores each."""
        self.free = [[0.0] * cores for _ in range(count)]
        self.in_flight: list[list[float]] = [[] for _ in range(count)]
        self.chance = chance

    def serve(self, now: float, work: float) -> float:
        """The time at which a request that arrives now is finished."""
        pair = [self.chance.randrange(len(self.free)) for _ in range(2)]
        for node in pair:
            while self.in_flight[node] and self.in_flight[node][0] <= now:
                heapq.heappop(self.in_flight[node])
        node = min(pair, key=lambda one: len(self.in_flight[one]))
        start = max(now, self.free[node][0])
        heapq.heapreplace(self.free[node], start + work)
        heapq.heappush(self.in_flight[node], start + work)
        return start + work


def simulate(load: Load, made: Plan, lost: int) -> tuple[float, float]:
    """The median and the 99th percentile in ms, while `lost` nodes of each service are down."""
    chance = random.Random(1)
    now = 0.0
    requests = []
    for number in range(REQUESTS):
        now += chance.expovariate(load.rate) * 1e3
        requests.append((now, now, number, chance.random() < READS))
    only = load.engine == "sqlite"
    stations: list[tuple[Station, str]] = []
    if only:
        stations.append((Station(1, made.engine_cores, chance), "node"))
    else:
        stations += [(Station(made.services - lost, CORES, chance), "node") for _ in range(2)]
        if load.engine == "postgres":
            stations.append((Station(1, made.engine_cores, chance), "engine"))
    for station, name in stations:
        after = []
        for time, start, number, is_read in sorted(requests):
            work = C[f"{name}_retrieve" if is_read else f"{name}_store"] / 1e3
            after.append((station.serve(time, chance.expovariate(1 / work)), start, number, is_read))
        requests = after
    times = []
    for time, start, _, is_read in requests:
        waits = len(stations) * C["hop_ms"]
        if load.engine == "object":
            waits += chance.uniform(C["object_fast"], C["object_slow"])
        elif not is_read:
            waits += C["sync"] * (1 + chance.random())  # the rest of the running commit, and its own
        elif load.engine == "postgres" and chance.random() < made.reads / (load.rate * READS):
            waits += chance.expovariate(1 / 0.15)  # a read of the disk
        times.append(time - start + waits)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def number(value: float) -> str:
    """With at most three digits, and the unit's prefix."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g} "


def tables() -> str:
    """The tables of the document."""
    lines = ["| figure | value | source |", "|---|---|---|"]
    for name, (value, unit, source) in CONSTANTS.items():
        text = f"{value:.7f}".rstrip("0") if value < 1 else f"{value:,.1f}" if value < 1e3 else f"{value:,.0f}"
        lines.append(f"| `{name}` | {text.removesuffix('.0')} {unit} | {source} |".replace("  |", " |"))
    plans = [(load, plan(load)) for load in LOADS]
    lines += [
        "",
        "| load | engine | services of each kind | engine's cores | its data | its log | bottleneck |",
        "|---|---|---|---|---|---|---|",
    ]
    engines = {"sqlite": "SQLite", "postgres": "PostgreSQL", "object": "object store"}
    for load, made in plans:
        part, used = max(made.busy.items(), key=lambda item: item[1])
        services = f"{made.services}" if made.services else "one machine"
        cores = f"{made.engine_cores:,}" if made.engine_cores else "the provider's"
        log = f"{number(made.log)}B/s" if made.log else "-"
        row = [load.name, engines[load.engine], services, cores, f"{number(made.disk)}B", log, f"{part}: {used:.0%}"]
        lines.append(f"| {' | '.join(row)} |")
    lines += [
        "",
        "| load | engine | network of a node | median | p99 | p99, one of each lost | $ a month | $ per million |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for load, made in plans:
        median, p99 = simulate(load, made, 0)
        lost = f"{simulate(load, made, 1)[1]:.1f} ms" if made.services else "no service"
        per_million = made.cost / (load.rate * MONTH) * 1e6
        row = [load.name, engines[load.engine], f"{number(made.network)}B/s", f"{median:.1f} ms", f"{p99:.1f} ms", lost]
        lines.append(f"| {' | '.join(row)} | {made.cost:,.0f} | {per_million:.2g} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
