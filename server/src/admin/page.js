// Shows the status of a node and its cluster. All text is inserted as text: names come from other nodes.
"use strict";

const INTERVAL = 1000; // milliseconds between two requests
const TIMEOUT = 5000;
const KEPT = 300; // samples for the plots
const WINDOW = 10; // seconds for the rates in tables
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
const format = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

let token = null;
let paused = false;
let timer = 0;
let lastAnswer = null; // as text
let samples = []; // statuses, the oldest first
let points = []; // what the plots show, one for each pair of samples

// Numbers of the service.

function isData(route) {
  return route.startsWith("/v1/");
}

function sum(list) {
  return list.reduce((total, value) => total + value, 0);
}

function countBy(list, key) {
  const counts = new Map();
  for (const entry of list) counts.set(entry[key], (counts.get(entry[key]) ?? 0) + entry.count);
  return counts;
}

/** The buckets of the requests between two samples; one route, or all those for data. */
function bucketsBetween(from, to, route) {
  const total = (sample) => {
    const found = sample.metrics.durations.filter((one) => (route ? one.route === route : isData(one.route)));
    const buckets = sample.metrics.bucket_seconds.map((_, index) => sum(found.map((one) => one.buckets[index])));
    return [...buckets, sum(found.map((one) => one.count))];
  };
  const [before, after] = [total(from), total(to)];
  return after.map((value, index) => value - before[index]);
}

/** The quantile in seconds, interpolated in its bucket; null without requests. */
function quantile(buckets, bounds, part) {
  const count = buckets.at(-1);
  if (!(count > 0)) return null;
  const index = buckets.findIndex((value) => value >= part * count);
  if (index >= bounds.length) return bounds.at(-1);
  const [low, below] = index > 0 ? [bounds[index - 1], buckets[index - 1]] : [0, 0];
  return low + ((bounds[index] - low) * (part * count - below)) / (buckets[index] - below || 1);
}

function milliseconds(seconds) {
  return seconds === null ? "–" : `${format.format(seconds * 1000)} ms`;
}

function failed(metrics, route) {
  return sum(metrics.requests.filter((one) => one.status >= 400 && (!route || one.route === route)).map((one) => one.count));
}

function point(from, to) {
  const seconds = to.uptime_seconds - from.uptime_seconds;
  const rate = (count) => count / seconds;
  const buckets = bucketsBetween(from, to, null);
  const errors = (sample) => sum(Object.values(sample.metrics.errors));
  const time = (part) => quantile(buckets, to.metrics.bucket_seconds, part);
  const bytes = (name) => rate(to.metrics.totals[name] - from.metrics.totals[name]);
  return {
    time: to.uptime_seconds,
    requests: [rate(buckets.at(-1)), rate(errors(to) - errors(from))],
    latency: [time(0.5), time(0.99)],
    bytes: [bytes("received_bytes_total"), bytes("sent_bytes_total")],
    load: [to.metrics.gauges.requests_in_flight, to.metrics.gauges.requests_waiting],
  };
}

// Tables.

/** Fills a table. A row is a list of cells: a text, or [text, class]. The first cell is the row's header. */
function fill(id, rows) {
  const body = $(id).tBodies[0];
  const columns = $(id).tHead.rows[0].cells;
  while (body.rows.length > Math.max(rows.length, 1)) body.deleteRow(-1);
  const shown = rows.length > 0 ? rows : [["none", ...Array(columns.length - 1).fill("")]];
  shown.forEach((cells, index) => {
    const row = body.rows[index] ?? body.insertRow();
    cells.forEach((cell, column) => {
      const [text, kind] = Array.isArray(cell) ? cell : [cell, ""];
      let element = row.cells[column];
      if (!element) {
        element = document.createElement(column === 0 ? "th" : "td");
        if (column === 0) element.scope = "row";
        row.append(element);
      }
      setText(element, text);
      const name = `${columns[column].className} ${kind ?? ""}`.trim();
      if (element.className !== name) element.className = name;
    });
  });
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const KINDS = { ready: "good", starting: "warn", draining: "warn", failing: "bad", dead: "bad" };

function showNodes(status) {
  const order = (node) => `${node.role} ${node.name}`;
  const nodes = [...status.nodes].sort((a, b) => (order(a) < order(b) ? -1 : 1));
  fill(
    "nodes",
    nodes.map((node) => [
      node.name + (node.is_this_node ? " (this node)" : ""),
      node.role,
      [node.state, KINDS[node.state] ?? "warn"],
      node.version,
      node.zone ?? "",
      node.url,
      (node.store ?? "").slice(0, 8),
      whole.format(node.requests_in_flight),
      node.is_this_node ? "" : format.format(node.heard_seconds_ago),
    ]),
  );
  const problems = status.problems.map((problem) => `${problem.kind.replaceAll("_", " ")}: ${problem.detail}`);
  const list = $("problems");
  if (list.dataset.shown !== problems.join("\n")) {
    list.dataset.shown = problems.join("\n");
    list.replaceChildren(
      ...problems.map((text) => {
        const item = document.createElement("li");
        item.textContent = text;
        return item;
      }),
    );
  }
  list.hidden = problems.length === 0;
  const states = new Map();
  for (const node of nodes) states.set(node.state, (states.get(node.state) ?? 0) + 1);
  const position = (state) => Object.keys(KINDS).indexOf(state);
  const sorted = [...states].sort(([a], [b]) => position(a) - position(b));
  const counted = sorted.map(([state, count]) => `${count} ${state}`).join(", ");
  const of = nodes.length === 1 ? "1 node" : `${nodes.length} nodes`;
  say(`${of}: ${counted}${problems.length > 0 ? `; problems: ${problems.length}` : ""}`);
}

function showRequests(from, to) {
  const seconds = to.uptime_seconds - from.uptime_seconds;
  const totals = countBy(to.metrics.durations, "route");
  const rows = [...totals.keys()].map((route) => {
    const buckets = bucketsBetween(from, to, route);
    const time = (part) => milliseconds(quantile(buckets, to.metrics.bucket_seconds, part));
    return [
      route,
      seconds > 0 ? format.format(buckets.at(-1) / seconds) : "–",
      time(0.5),
      time(0.99),
      whole.format(totals.get(route)),
      whole.format(failed(to.metrics, route)),
    ];
  });
  fill("requests", rows);
}

function showCounters(id, before, after, seconds, label) {
  const rows = Object.entries(after).map(([name, total]) => [
    label(name),
    seconds > 0 ? format.format((total - (before[name] ?? 0)) / seconds) : "–",
    whole.format(total),
  ]);
  fill(id, rows);
}

function showRest(from, to) {
  const seconds = to.uptime_seconds - from.uptime_seconds;
  showCounters("errors", from.metrics.errors, to.metrics.errors, seconds, (name) => name);
  const datagrams = (gossip) =>
    gossip === null
      ? {}
      : {
          sent: gossip.sent,
          received: gossip.received,
          ...Object.fromEntries(Object.entries(gossip.refused).map(([reason, count]) => [`refused: ${reason}`, count])),
        };
  showCounters("gossip", datagrams(from.gossip), datagrams(to.gossip), seconds, (name) => name.replaceAll("_", " "));
  const expiring = to.expiring;
  const count = (value) => whole.format(value) + (expiring.is_complete || value < 1000 ? "" : " or more");
  fill(
    "expiring",
    expiring === null
      ? [["not known", ""]]
      : [
          ["expired, wait for removal", count(expiring.expired)],
          ["within a minute", count(expiring.within_minute)],
          ["within an hour", count(expiring.within_hour)],
        ],
  );
  const figures = { ...to.metrics.gauges, ...to.metrics.totals };
  fill("figures", [
    ["uptime", duration(to.uptime_seconds)],
    ...Object.entries(figures).map(([name, value]) => [name.replace(/_total$/, "").replaceAll("_", " "), whole.format(value)]),
  ]);
}

function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [unit, size] = units[first];
  const [small, rest] = units[first + 1] ?? [null, 1];
  const more = small ? ` ${Math.floor((seconds % size) / rest)} ${small}` : "";
  return `${Math.floor(seconds / size)} ${unit}${more}`;
}

// Plots: two lines each, over the kept points.

const PLOTS = [
  { key: "requests", title: "Requests per second", names: ["all", "failed"], text: (value) => format.format(value) },
  { key: "latency", title: "Time to answer", names: ["median", "99th percentile"], text: milliseconds },
  { key: "bytes", title: "Bytes per second", names: ["received", "sent"], text: (value) => whole.format(value) },
  { key: "load", title: "Requests at work", names: ["in flight", "waiting"], text: (value) => whole.format(value) },
];

function makePlots() {
  for (const plot of PLOTS) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const title = document.createElement("strong");
    title.textContent = plot.title;
    plot.legend = document.createElement("span");
    plot.legend.className = "legend";
    caption.append(title, plot.legend);
    plot.svg = document.createElementNS(SVG, "svg");
    plot.svg.setAttribute("viewBox", `0 0 ${KEPT} 100`);
    plot.svg.setAttribute("preserveAspectRatio", "none");
    plot.svg.setAttribute("role", "img");
    const base = document.createElementNS(SVG, "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: KEPT, y1: 99, y2: 99 })) base.setAttribute(name, value);
    plot.lines = plot.names.map(() => document.createElementNS(SVG, "path"));
    plot.svg.append(base, ...plot.lines);
    figure.append(caption, plot.svg);
    $("plots").append(figure);
  }
}

function showPlots() {
  const end = points.at(-1)?.time ?? 0;
  for (const plot of PLOTS) {
    const most = Math.max(...points.flatMap((one) => one[plot.key].map((value) => value ?? 0)), 0);
    plot.lines.forEach((line, index) => {
      let path = "";
      let pen = "M";
      for (const one of points) {
        const value = one[plot.key][index];
        if (value === null) {
          pen = "M"; // a gap
          continue;
        }
        const x = KEPT - (end - one.time);
        path += `${pen}${x.toFixed(1)} ${(98 - (most > 0 ? (95 * value) / most : 0)).toFixed(1)}`;
        pen = "L";
      }
      line.setAttribute("d", path);
    });
    const last = points.at(-1)?.[plot.key];
    const now = plot.names.map((name, index) => `${name} ${last ? plot.text(last[index]) : "–"}`).join(", ");
    setText(plot.legend, `${now}; highest ${plot.text(most)}`);
    plot.svg.setAttribute("aria-label", `${plot.title} in the last five minutes: ${now}; highest ${plot.text(most)}`);
  }
}

// Requests for the status.

/** The sentence that screen readers announce when it changes. */
function say(text) {
  setText($("summary"), text);
}

function show(status) {
  const previous = samples.at(-1);
  if (previous && status.uptime_seconds < previous.uptime_seconds) {
    samples = []; // the node was restarted
    points = [];
  } else if (previous && status.uptime_seconds > previous.uptime_seconds) {
    points.push(point(previous, status));
  }
  samples.push(status);
  points = points.slice(-KEPT);
  samples = samples.filter((one) => one === status || status.uptime_seconds - one.uptime_seconds <= WINDOW);
  $("access").hidden = true;
  $("main").hidden = false;
  document.body.classList.remove("stale");
  document.title = `Strongroom: ${status.role}`;
  showNodes(status);
  showRequests(samples[0], status);
  showRest(samples[0], status);
  showPlots();
}

function askForToken(wasGiven) {
  token = null;
  $("main").hidden = true;
  const wasHidden = $("access").hidden;
  $("access").hidden = false;
  say(wasGiven ? "The token is not valid here, or lacks the scope monitor" : "This page needs a token");
  if (wasHidden) $("token").focus();
}

async function poll() {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  try {
    const answer = await fetch("/admin/status", {
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if ([401, 403, 429].includes(answer.status)) {
      askForToken(token !== null);
      return; // until a token is given
    }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    lastAnswer = new Date().toLocaleTimeString();
  } catch {
    document.body.classList.add("stale");
    say(lastAnswer === null ? "This node does not answer" : `This node does not answer since ${lastAnswer}`);
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (!paused) timer = setTimeout(poll, INTERVAL);
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = $("token").value.trim();
  $("token").value = "";
  if (/^[!-~]+$/.test(given)) {
    token = given;
    poll();
  } else {
    askForToken(true);
  }
});

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  schedule();
});

makePlots();
poll();
