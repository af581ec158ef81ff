"use strict";
// Names are anybody's: they become text here, and never markup.
const $ = id => document.getElementById(id);
const read = id => JSON.parse($(id).textContent);
const report = read("report"), data = read("lines");
/** Characters that hide, reorder or break a line, as escapes. */
const plain = text => String(text).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, c => `\\u{${c.codePointAt(0).toString(16)}}`);
function el(tag, text, parent) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = plain(text);
  if (parent) parent.append(made);
  return made;
}
const NONE = "\u2013", DOT = "\u00a0\u00b7 ";
function time(ns) {
  if (ns === null || ns === undefined) return NONE;
  if (!ns) return "0";
  const size = Math.abs(ns);
  for (const [unit, of] of [["s", 1e9], ["ms", 1e6], ["\u00b5s", 1e3]]) if (size >= of) return (ns / of).toPrecision(4) + "\u00a0" + unit;
  return Math.round(ns) + "\u00a0ns";
}
/** Without zeros that say nothing. */
const short = ns => time(ns).replace(/(\.\d*?)0+(?=\D)/, "$1").replace(/\.(?=\D)/, "");
const digits = new Intl.NumberFormat("en");
const count = number => number === null || number === undefined ? NONE : digits.format(number);
const percent = part => part.toPrecision(part < 0.1 ? 1 : 2) + "\u00a0%";
function key(list, name, color) {
  const item = el("li", undefined, list);
  el("i", undefined, item).style.background = `var(--${color})`;
  item.append(name);
}

// What the report says.
$("summary").textContent = plain([report.host, (report.started || "").replace(/T([\d:]+)[.\d]*Z?$/, " $1 UTC"), time(data.duration_ns), report.target, `Linux ${report.kernel}`].filter(Boolean).join(DOT));
document.title = plain(`tracer: ${report.target}`);
el("b", report.verdict, $("verdict")).className = report.verdict;
$("verdict").append({ valid: "Nothing was lost, and every check matches.", degraded: "Some of it is not certain:", invalid: "Not all of it can be trusted:" }[report.verdict] || "");
for (const reason of report.reasons) el("li", reason, $("reasons"));
function cost(cost) {
  if (!cost) return "What tracing cost was not measured.";
  const each = cost.kernel_ns_per_event, kernel = each === null ? "of unknown cost" : `at ${time(each)}, together ${time(cost.kernel_events * each)}`;
  const parts = [`${count(cost.kernel_events)} kernel events ${kernel}`, `collector ${time(cost.collector_cpu_ns)} of CPU time, ${(cost.collector_max_rss_bytes / 2 ** 20).toFixed(0)} MiB`];
  if (cost.cpu_percent_of_one !== null) parts.push(`${percent(cost.cpu_percent_of_one)} of one CPU`);
  if (cost.cpu_percent_of_machine !== null) parts.push(`${percent(cost.cpu_percent_of_machine)} of the machine`);
  if (cost.syscall_ns !== null) parts.push(`every system call of the machine takes ${time(cost.syscall_ns)} longer`);
  return "Cost of tracing: " + parts.join(DOT);
}
$("cost").textContent = cost(report.cost);
if (report.cost) $("cost").title = plain(report.cost.method);
for (const [text, evidence, remedy] of report.insights) {
  const card = el("li", undefined, $("insights"));
  el("b", text, card);
  el("p", evidence, card).className = "quiet";
  el("p", remedy, card);
}
if (!report.insights.length) { $("insights").className = "quiet"; $("insights").style.listStyle = "none"; $("insights").style.padding = 0; el("li", "Nothing stands out.", $("insights")); }

// Spikes: the first ones at once, the others on demand, and how many there are beyond.
const FIRST = 10, beyond = (report.tables.find(table => table.of === "spikes") || {}).others;
report.spikes.forEach((text, at) => el("li", text, at < FIRST ? $("spikes") : $("more").lastElementChild));
$("more").lastElementChild.start = FIRST + 1;
$("more").hidden = report.spikes.length <= FIRST;
$("more").firstElementChild.textContent = `${report.spikes.length - FIRST} more`;
$("slower").textContent = (report.spikes.length ? `Latencies of ${short(report.slower_ns)} or more, longest first.` : `No latency of ${short(report.slower_ns)} or more.`)
  + (beyond ? ` ${count(beyond[0])} others are not told one by one${beyond[1].at(-1) === null ? "" : `: together ${time(beyond[1].at(-1))}`}.` : "");

// Bars: of what a wait was made. What is not named by itself is one part.
const seen = new Set();
for (const { thread, wait_ns, parts } of report.bars) {
  const figure = el("figure", undefined, $("bars")), head = el("div", undefined, figure);
  el("b", thread, head);
  el("span", `waited ${time(wait_ns)}`, head);
  const bar = el("div", undefined, figure);
  bar.className = "bar";
  for (const { kind, text, ns } of parts) {
    const part = el("i", undefined, bar);
    part.style.flexGrow = ns;
    part.style.background = `var(--${kind || "others"})`;
    part.title = plain(`${text}: ${time(ns)}`);
    part.dataset.ns = ns;
    seen.add(kind || "others");
  }
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", [...bar.children].map(part => part.title).join(", "));
  const said = parts.slice(0, 3), rest = parts.slice(3).reduce((sum, part) => sum + part.ns, 0);
  el("figcaption", said.map(part => `${time(part.ns)} ${part.text}`).join(DOT) + (rest ? `${DOT}${time(rest)} the rest` : ""), figure);
}
for (const kind of ["thread", "kernel_thread", "irq", "softirq", "steal", "throttled", "idle", "other_cpu", "unknown", "others"]) if (seen.has(kind)) key($("kinds"), kind.replace("_", " "), kind);
const [unshown, unshown_ns] = report.no_bar;
$("no-bar").textContent = report.bars.length ? (unshown ? `Those that waited longest. ${count(unshown)} other threads waited ${time(unshown_ns)} together.` : "") : "Nobody waited.";

// Tables: a heading sorts, the row of all others stays below.
const show_cell = (value, kind) => kind === "ns" || kind === "at" ? time(value) : kind === "count" ? count(value) : plain(value ?? NONE);
function table({ title, of, columns, rows, others }) {
  if (!rows.length && !others) return;
  el("h2", title, $("tables"));
  if (others) el("p", `The first ${count(rows.length)} ${of} by weight, and ${count(others[0])} others as one row.`, $("tables")).className = "quiet";
  const box = el("div", undefined, $("tables"));
  box.className = "scroll";
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", title);
  const made = el("table", undefined, box), head = el("tr", undefined, el("thead", undefined, made)), body = el("tbody", undefined, made);
  made.setAttribute("aria-label", title);
  const fill = (row, line) => {
    columns.forEach(([, kind], at) => {
      const cell = el("td", show_cell(row[at], kind), line);
      if (kind === "name") { cell.className = "name"; cell.title = cell.textContent; }
    });
    return line;
  };
  if (others) {
    const line = fill(others[1], el("tr", undefined, el("tfoot", undefined, made)));
    line.firstChild.textContent = `${count(others[0])} others`;
    line.dataset.values = JSON.stringify(others);
  }
  const lines = new Map(rows.map(row => [row, fill(row, el("tr", undefined, body))]));
  columns.forEach(([name, kind], at) => {
    const cell = el("th", undefined, head);
    cell.scope = "col";
    if (kind === "name") cell.className = "name";
    el("button", name, cell).onclick = () => {
      const down = cell.getAttribute("aria-sort") !== "descending";
      for (const other of head.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = kind === "name" ? (a, b) => String(a[at] ?? "").localeCompare(String(b[at] ?? "")) : (a, b) => (a[at] ?? -1) - (b[at] ?? -1);
      rows.sort((a, b) => (down ? -1 : 1) * compare(a, b));
      body.append(...rows.map(row => lines.get(row)));
    };
  });
}
report.tables.forEach(table);

// The time line.
data.states.forEach(name => key($("legend"), name, name));
$("bin").textContent = `${count(data.bins)} bins of ${time(data.bin_ns)}: a bin holds how long a thread was in each state, not when inside it.`;
const few = parts => parts.map((ns, state) => ns ? `${data.states[state]} ${time(ns)}` : "").filter(Boolean).join(", ");
const label = line => plain(line.tid ? `${line.name}/${line.tid}` : line.name);
/** Nanoseconds of each state up to each bin; none for a state that a line never was in. */
function grow(line) {
  line.upto = line.runs.map(runs => {
    if (!runs.length) return null;
    const upto = new Float64Array(data.bins + 1);
    let bin = 0, sum = 0;
    for (let at = 0; at < runs.length; at += 3) {
      for (let empty = runs[at]; empty > 0; empty--) upto[++bin] = sum;
      for (let alike = runs[at + 1]; alike > 0; alike--) upto[++bin] = sum += runs[at + 2];
    }
    upto.fill(sum, bin + 1);
    return upto;
  });
}
const everything = [...data.cpus, ...data.threads];
const lost = data.threads.filter(line => line.elsewhere_ns.some(Boolean));
if (lost.length) {
  const details = el("details", undefined, $("elsewhere"));
  const all = data.states.map((_, state) => lost.reduce((sum, line) => sum + line.elsewhere_ns[state], 0));
  details.open = lost.length <= 5;
  el("summary", `Time without a place, of ${lost.length} lines: ${few(all) || "nothing in sum"}. Records were lost; the kernel's counters tell how much it was, not when.`, details);
  const list = el("ul", undefined, details);
  for (const line of lost) el("li", `${label(line)}: ${few(line.elsewhere_ns)}`, list);
} else el("p", "All time has its place on the line.", $("elsewhere")).className = "quiet";

const canvas = $("time"), ROW = 20, BAR = 14, TOP = 2, AXIS = 22, START = 20;
let from = 0, to = data.duration_ns, lines = [], colors = [], left = 150, every = false, cursor = null, planned = false;
const last = Math.max(0, Math.ceil(data.duration_ns / data.bin_ns) - 1);
function show() {
  const word = $("filter").value.trim().toLowerCase();
  const found = data.threads.filter(line => `${label(line)} ${line.pid ?? ""}`.toLowerCase().includes(word));
  const many = data.threads.length > START + 5 && !word;
  const others = found.filter(line => line.tid === null);
  lines = [...data.cpus, ...(many && !every ? [...found.slice(0, START), ...others] : found)];
  $("all").hidden = !many;
  $("all").textContent = every ? `The first ${START} lines` : `All ${data.threads.length} lines`;
  canvas.dataset.lines = lines.length;
  if (cursor) cursor.row = Math.min(cursor.row, lines.length - 1);
  plan();
}
/** Nanoseconds of each state between two times; a bin that is cut counts in proportion. */
function sums(line, a, b) {
  if (!line.upto) grow(line);
  const at = (upto, ns) => {
    const bin = Math.min(data.bins, ns / data.bin_ns), whole = Math.floor(bin);
    return upto[whole] + (whole < data.bins ? (bin - whole) * (upto[whole + 1] - upto[whole]) : 0);
  };
  return line.upto.map(upto => upto ? at(upto, b) - at(upto, a) : 0);
}
/** Steps of a scale: 1, 2 or 5 of a power of ten. */
function step(about) {
  const power = 10 ** Math.floor(Math.log10(about));
  return power * [1, 2, 5, 10].find(of => of * power >= about);
}
function plan() {
  canvas.dataset.from = from; canvas.dataset.to = to;
  if (!planned) { planned = true; requestAnimationFrame(() => { planned = false; draw(); }); }
}
/** A label as long as there is room: the name is cut, the tid is not. */
function fitting(pen, line) {
  const fits = text => pen.measureText(text).width <= left - 12;
  if (fits(label(line))) return label(line);
  const tid = line.tid ? `/${line.tid}` : "";
  let name = plain(line.name);
  while (name && !fits(`${name}\u2026${tid}`)) name = name.slice(0, -1);
  return `${name}\u2026${tid}`;
}
function draw() {
  const wide = canvas.clientWidth, high = lines.length * ROW + TOP + AXIS;
  const ratio = Math.min(devicePixelRatio || 1, 16000 / high);
  left = wide < 600 ? 96 : 160;
  canvas.style.height = high + "px";
  [canvas.width, canvas.height] = [Math.round(wide * ratio), Math.round(high * ratio)];
  const pen = canvas.getContext("2d"), width = wide - left, scale = width / (to - from), dot = 1;
  pen.scale(ratio, ratio);
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const style = getComputedStyle(document.documentElement), probe = el("i", undefined, document.body);
  const color = name => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  colors = data.states.map(color);
  const [ink, quiet, edge, accent] = ["text", "quiet", "edge", "accent"].map(color);
  probe.remove();
  const every_ns = step((to - from) / Math.max(2, width / 110)), bottom = high - AXIS;
  pen.textAlign = "center";
  for (let at = Math.ceil(from / every_ns) * every_ns; at <= to; at += every_ns) {
    const x = left + (at - from) * scale;
    pen.fillStyle = edge;
    pen.fillRect(x, 0, 1, bottom + 4);
    pen.fillStyle = quiet;
    if (x < wide - 24) pen.fillText(short(at), Math.max(x, left + 8), bottom + 13);
  }
  lines.forEach((line, row) => {
    const y = TOP + row * ROW, base = y + 2 + BAR;
    pen.textAlign = "left";
    pen.fillStyle = line.tid === null ? quiet : ink;
    pen.fillText(fitting(pen, line), 0, y + 2 + BAR / 2);
    if (row === data.cpus.length - 1 && row < lines.length - 1) { pen.fillStyle = edge; pen.fillRect(0, y + ROW - 1.5, wide, 1); }
    for (let x = 0; x < width; x += dot) {
      const a = from + x / scale, b = Math.min(to, from + (x + dot) / scale);
      const parts = sums(line, a, b), all = Math.max((b - a), parts.reduce((sum, ns) => sum + ns, 0));
      let low = base;
      for (let state = 0; state < parts.length; state++) {
        if (parts[state] <= 0) continue;
        const tall = BAR * parts[state] / all;
        low -= tall;
        pen.fillStyle = colors[state];
        pen.fillRect(left + x, low, dot, tall);
      }
    }
  });
  if (cursor) {
    const x = left + (cursor.bin * data.bin_ns - from) * scale, y = TOP + cursor.row * ROW;
    pen.strokeStyle = accent;
    pen.lineWidth = 1.5;
    pen.strokeRect(x - 1, y + 0.5, Math.max(3, data.bin_ns * scale + 2), BAR + 3);
  }
  $("range").textContent = `${time(from)} to ${time(to)}`;
}
function view(a, b) {
  const length = Math.min(data.duration_ns, Math.max(b - a, data.bin_ns * 4));
  from = Math.min(Math.max(0, a), data.duration_ns - length);
  to = from + length;
  plan();
}
const zoom = (by, at) => view(at - (at - from) * by, at + (to - at) * by);
const place = event => from + (to - from) * Math.min(1, Math.max(0, (event.offsetX - left) / (canvas.clientWidth - left)));
/** Puts the cursor on a bin of a line, and says what is in it. */
function point(row, bin) {
  cursor = { row: Math.min(Math.max(0, row), lines.length - 1), bin: Math.min(Math.max(0, bin), last) };
  const line = lines[cursor.row], a = cursor.bin * data.bin_ns;
  const said = few(sums(line, a, a + data.bin_ns).map(Math.round)) || "nothing";
  const extra = few(line.elsewhere_ns);
  $("readout").textContent = `${label(line)} at ${time(a)}: ${said}` + (extra ? `; without a place: ${extra}` : "");
  plan();
}
function walk(rows, bins) {
  const at = cursor || { row: data.cpus.length < lines.length ? data.cpus.length : 0, bin: Math.round(from / data.bin_ns) };
  point(cursor ? at.row + rows : at.row, cursor ? at.bin + bins : at.bin);
  const a = cursor.bin * data.bin_ns, length = to - from;
  if (a < from) view(a, a + length);
  if (a + data.bin_ns > to) view(a + data.bin_ns - length, a + data.bin_ns);
}
canvas.addEventListener("wheel", event => {
  // Over the names the page scrolls, as anywhere else.
  if (event.shiftKey || event.offsetX < left) return;
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, place(event));
}, { passive: false });
canvas.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const by = (to - from) / 2, a = cursor ? cursor.bin * data.bin_ns : -1, middle = a >= from && a <= to ? a : (from + to) / 2;
  const does = { "+": () => zoom(0.5, middle), "=": () => zoom(0.5, middle), "-": () => zoom(2, middle), 0: () => view(0, data.duration_ns),
    PageUp: () => view(from - by, to - by), PageDown: () => view(from + by, to + by), Home: () => walk(0, -last), End: () => walk(0, last),
    ArrowLeft: () => walk(0, -1), ArrowRight: () => walk(0, 1), ArrowUp: () => walk(-1, 0), ArrowDown: () => walk(1, 0) }[event.key];
  if (does) { event.preventDefault(); does(); }
});
let dragged = null;
canvas.addEventListener("pointerdown", event => { dragged = event.clientX; canvas.setPointerCapture(event.pointerId); });
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { dragged = null; });
canvas.addEventListener("pointermove", event => {
  if (dragged !== null) {
    const by = (dragged - event.clientX) / (canvas.clientWidth - left) * (to - from);
    dragged = event.clientX;
    view(from + by, to + by);
  }
  const row = Math.floor((event.offsetY - TOP) / ROW);
  if (event.offsetX >= left && row >= 0 && row < lines.length) point(row, Math.floor(place(event) / data.bin_ns));
});
$("filter").oninput = show;
$("all").onclick = () => { every = !every; show(); };
$("theme").onclick = () => {
  const root = document.documentElement, dark = root.classList.contains("dark") || !root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches;
  root.classList.toggle("dark", !dark); root.classList.toggle("light", dark);
  plan();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", plan);
addEventListener("resize", plan);
show();
