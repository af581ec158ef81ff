"use strict";
// Names are anybody's: they become text here, and never markup.
const read = id => JSON.parse(document.getElementById(id).textContent);
const report = read("report"), data = read("lines");
const $ = id => document.getElementById(id);
const COLORS = ["#2f9e60", "#e0612c", "#8fa3b840", "#8a63d2", "#d1a300", "#888888"];
const HUES = ["#e0612c", "#2f7fd1", "#d1a300", "#8a63d2", "#2f9e60", "#c2447f", "#4aa3a3", "#888888"];
/** Characters that hide, reorder or break a line, as escapes. */
const plain = text => String(text).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, c => `\\u{${c.codePointAt(0).toString(16)}}`);
function el(tag, text, parent) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = plain(text);
  if (parent) parent.append(made);
  return made;
}
function time(ns) {
  if (ns === null || ns === undefined) return "\u2013";
  const size = Math.abs(ns);
  for (const [unit, of] of [["s", 1e9], ["ms", 1e6], ["\u00b5s", 1e3]]) if (size >= of) return (ns / of).toPrecision(4) + " " + unit;
  return Math.round(ns) + " ns";
}

// What the report says.
const threads = report.processes.flatMap(p => p.threads.map(t => ({ ...t, ...t.switches, pid: p.pid })));
$("summary").textContent = [report.host.hostname, report.window.start, time(data.duration_ns), report.target.description].filter(Boolean).join(" \u00b7 ");
$("verdict").textContent = "Verdict: " + report.quality.verdict + (report.cost ? `. Collector: ${time(report.cost.collector_cpu_ns)} of CPU time.` : "");
for (const reason of report.quality.reasons || []) el("li", reason, $("reasons"));
for (const { text, evidence, remedy } of report.insights || []) el("li", `${text}. ${evidence}. ${remedy}.`, $("insights"));
if (!(report.insights || []).length) el("li", "Nothing stands out.", $("insights"));
for (const text of data.spikes) el("li", text, $("spikes"));
if (!data.spikes.length) el("li", "None.", $("spikes"));
const waited = threads.flatMap(t => (t.waited_for || []).map(w => ({
  thread: `${t.comm}/${t.tid}`, kind: w.kind, by: w.comm ? `${w.comm}/${w.tid}` : "", count: w.count, ns: w.ns })));
const most = threads.filter(t => (t.waited_for || []).length).sort((a, b) => b.wait_ns - a.wait_ns).slice(0, 20);
for (const thread of most) {
  el("div", `${thread.comm}/${thread.tid} waited ${time(thread.wait_ns)}`, $("budgets"));
  const bar = el("div", undefined, $("budgets"));
  bar.className = "bar";
  thread.waited_for.forEach((w, at) => {
    const part = el("i", undefined, bar);
    part.style.flexGrow = w.ns;
    part.style.background = HUES[at % HUES.length];
    part.title = plain(`${w.comm ? `${w.comm}/${w.tid}` : w.kind}: ${time(w.ns)}`);
  });
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", [...bar.children].map(part => part.title).join(", "));
}

function table(title, columns, rows) {
  if (!rows.length) return;
  el("h2", title, $("tables"));
  const box = el("div", undefined, $("tables"));
  box.className = "scroll";
  box.tabIndex = 0;
  const made = el("table", undefined, box), head = el("tr", undefined, el("thead", undefined, made)), body = el("tbody", undefined, made);
  made.setAttribute("aria-label", title);
  const fill = () => body.replaceChildren(...rows.map(row => {
    const line = el("tr");
    for (const name of columns) el("td", name.endsWith("ns") ? time(row[name]) : row[name] ?? "\u2013", line);
    return line;
  }));
  for (const name of columns) {
    const cell = el("th", undefined, head);
    el("button", name.replace(/_?ns$/, "") || "time", cell).onclick = () => {
      const sign = cell.getAttribute("aria-sort") === "descending" ? 1 : -1;
      for (const other of head.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      rows.sort((a, b) => {
        const [x, y] = [a[name], b[name]];
        return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x ?? "").localeCompare(String(y ?? "")));
      });
      fill();
    };
  }
  fill();
}
const TIMES = ["run_ns", "wait_ns", "sleep_ns", "block_ns", "stopped_ns", "unknown_ns"];
table("Threads", ["comm", "tid", "pid", ...TIMES, "voluntary", "involuntary"], threads);
table("Processes", ["comm", "pid", ...TIMES, "voluntary", "involuntary"], report.processes.map(p => ({ ...p.totals, ...p.totals.switches, comm: p.comm, pid: p.pid })));
table("Waited for", ["thread", "kind", "by", "count", "ns"], waited);
table("Longest latencies", ["comm", "tid", "cpu", "cause", "at_ns", "latency_ns"], report.spikes || []);
table("Forks", ["parent_comm", "child_comm", "child_pid", "kind", "at_ns", "syscall_ns"], report.forks || []);

// The time line.
data.states.forEach((name, state) => { el("i", undefined, $("legend")).className = "key"; $("legend").lastChild.style.background = COLORS[state]; $("legend").append(name); });
$("bin").textContent = `${data.bins} bins of ${time(data.bin_ns)}. A bin holds how long a thread was in each state, not when inside it; nothing is left out.`;
const canvas = $("time"), ROW = 18, LEFT = 150, TOP = 4;
let from = 0, to = data.duration_ns, lines = [];
const label = line => plain(line.tid ? `${line.name}/${line.tid}` : line.name);
function show() {
  const word = $("filter").value.toLowerCase();
  lines = [...data.cpus, ...data.threads.filter(l => `${label(l)} ${l.pid}`.toLowerCase().includes(word))];
  draw();
}
/** Nanoseconds of each state between two times; a bin that is cut counts in proportion. */
function sums(line, a, b) {
  const [x, y] = [a / data.bin_ns, b / data.bin_ns];
  return line.runs.map(runs => {
    let [low, high] = [0, runs.length / 3], sum = 0;
    while (low < high) { const middle = (low + high) >> 1; if (runs[middle * 3] + runs[middle * 3 + 1] <= x) low = middle + 1; else high = middle; }
    for (let at = low * 3; at < runs.length && runs[at] < y; at += 3)
      sum += (Math.min(y, runs[at] + runs[at + 1]) - Math.max(x, runs[at])) * runs[at + 2];
    return sum;
  });
}
function draw() {
  const ratio = devicePixelRatio || 1, wide = canvas.clientWidth, high = lines.length * ROW + TOP * 2;
  canvas.style.height = high + "px";
  [canvas.width, canvas.height] = [wide * ratio, Math.min(high * ratio, 16000)];
  const pen = canvas.getContext("2d"), width = wide - LEFT;
  pen.scale(ratio, canvas.height / high);
  pen.font = "12px system-ui, sans-serif";
  const ink = getComputedStyle(document.body).color;
  lines.forEach((line, at) => {
    const y = TOP + at * ROW;
    pen.fillStyle = ink;
    pen.fillText(label(line), 0, y + 12, LEFT - 8);
    for (let x = 0; x < width; x += 2) {
      const a = from + (to - from) * x / width, b = from + (to - from) * (x + 2) / width;
      const parts = sums(line, a, b), all = Math.max(b - a, parts.reduce((sum, ns) => sum + ns, 0));
      let bottom = y + ROW - 4;
      parts.forEach((ns, state) => { if (ns <= 0) return; const tall = (ROW - 5) * ns / all; bottom -= tall; pen.fillStyle = COLORS[state]; pen.fillRect(LEFT + x, bottom, 2, tall); });
    }
  });
  $("range").textContent = `${time(from)} to ${time(to)}`;
  canvas.dataset.from = from; canvas.dataset.to = to;
}
function view(a, b) {
  const length = Math.min(data.duration_ns, Math.max(b - a, data.bin_ns * 4));
  from = Math.min(Math.max(0, a), data.duration_ns - length);
  to = from + length;
  draw();
}
const zoom = (by, at) => view(at - (at - from) * by, at + (to - at) * by);
const place = event => from + (to - from) * Math.min(1, Math.max(0, (event.offsetX - LEFT) / (canvas.clientWidth - LEFT)));
canvas.addEventListener("wheel", event => { if (event.shiftKey) return; event.preventDefault(); zoom(event.deltaY > 0 ? 1.25 : 0.8, place(event)); }, { passive: false });
canvas.addEventListener("keydown", event => {
  const step = (to - from) / 5, middle = (from + to) / 2;
  const does = { "+": () => zoom(0.5, middle), "=": () => zoom(0.5, middle), "-": () => zoom(2, middle),
    ArrowLeft: () => view(from - step, to - step), ArrowRight: () => view(from + step, to + step), 0: () => view(0, data.duration_ns) }[event.key];
  if (does) { event.preventDefault(); does(); }
});
let dragged = null;
canvas.addEventListener("pointerdown", event => { dragged = event.clientX; canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener("pointerup", () => { dragged = null; });
canvas.addEventListener("pointermove", event => {
  if (dragged !== null) {
    const by = (dragged - event.clientX) / (canvas.clientWidth - LEFT) * (to - from);
    dragged = event.clientX;
    view(from + by, to + by);
  }
  const line = lines[Math.floor((event.offsetY - TOP) / ROW)];
  if (!line) return;
  const a = Math.floor(place(event) / data.bin_ns) * data.bin_ns;
  const parts = sums(line, a, a + data.bin_ns).map((ns, state) => ns > 0 ? `${data.states[state]} ${time(ns)}` : "").filter(Boolean);
  const extra = line.elsewhere_ns.map((ns, state) => ns ? `${data.states[state]} ${time(ns)}` : "").filter(Boolean);
  $("readout").textContent = `${label(line)} at ${time(a)}: ${parts.join(", ") || "nothing"}` + (extra.length ? `; without a place in time: ${extra.join(", ")}` : "");
});
$("filter").oninput = show;
$("theme").onclick = () => {
  const root = document.documentElement, dark = root.classList.contains("dark") || !root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches;
  root.classList.toggle("dark", !dark); root.classList.toggle("light", dark);
  draw();
};
addEventListener("resize", draw);
show();
